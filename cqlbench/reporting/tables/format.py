"""Numbers as tables say them; NaN and `None` are a dash."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from cqlbench.records.pooling import MARK
from cqlbench.reporting.aggregate import Spread, Summary

ABSENT = "–"
_LISTED = 12
"""A note names so many runs; the CSV files have all of them."""


def number_text(value: float | None, form: str = "z,.1f") -> str:
    """A number in this format."""
    return ABSENT if value is None or math.isnan(value) else format(value, form)


def deviation_text(mean: float, deviation: float, form: str = "z,.1f") -> str:
    """A mean, ± its deviation where it has one."""
    text = number_text(mean, form)
    return text if math.isnan(deviation) else f"{text} ± {number_text(deviation, form)}"


def spread_text(spread: Spread, form: str = "z,.1f") -> str:
    """Mean ± sample standard deviation."""
    return deviation_text(spread.mean, spread.std, form)


def pooled_text(spread: Spread, summary: Summary) -> str:
    """The same of a run's seeds, marked where they were made differently."""
    return marked(spread_text(spread), summary) if spread.count else ABSENT


def score_text(cell: Any) -> str:
    """The score of a row of `Report.cells`, marked where its seeds were made differently."""
    mark = f" {MARK}" if cell.count and cell.differing else ""
    return f"{deviation_text(cell.mean, cell.std)}{mark}"


def interval_text(low: float, high: float, form: str = "z,.1f") -> str:
    """An interval in brackets."""
    return ABSENT if math.isnan(low) else f"[{low:{form}}, {high:{form}}]"


def marked(text: str, summary: Summary) -> str:
    """A text about all of a run's seeds, marked where they were made differently."""
    return f"{text} {MARK}" if summary.differing else text


def differing_notes(summaries: Iterable[Summary]) -> tuple[str, ...]:
    """What the mark means: how seeds of these runs were made, a sentence for each phrase."""
    runs: dict[str, list[str]] = {}
    for summary in summaries:
        for phrase in summary.differing:
            seeds, _, what = phrase.partition(": ")
            runs.setdefault(what, []).append(f"{seeds} of {summary.label} on {summary.lead.dataset.id}")
    return tuple(f"{MARK} {what[:1].upper()}{what[1:]}: {some(whose)}." for what, whose in runs.items())


def some(names: Sequence[str], most: int = _LISTED, between: str = "; ") -> str:
    """The names, or the first of many."""
    more = [f"and {len(names) - most:,} more"] if len(names) > most else []
    return between.join([*names[:most], *more])
