"""Of how many seeds and episodes a report's figures are."""

from collections.abc import Iterable
from typing import Any

from cqlbench.core.text import counted
from cqlbench.reporting.report import Report


def sample_text(report: Report) -> str:
    """The budget, and of how many seeds and episodes the report's numbers are."""
    finished = [summary for summary in report.summaries.values() if summary.finished]
    protocols = [summary.lead.protocol for summary in finished if summary.evaluated]
    seeds = _range((len(summary.finished) for summary in finished), "seed")
    episodes = _range((each.episodes for each in protocols if each), "episode")
    played = f", {episodes} per seed and evaluation" if episodes else ""
    return f"Budget {report.budget}, n = {seeds or '0 seeds'}{played}."


def _range(numbers: Iterable[Any], noun: str) -> str:
    known = sorted(set(numbers))
    if not known:
        return ""
    return counted(known[-1], noun) if len(known) == 1 else f"{known[0]} to {counted(known[-1], noun)}"
