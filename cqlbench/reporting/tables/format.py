"""Numbers as tables say them."""

from collections.abc import Iterable, Sequence

from cqlbench.records.pooling import MARK
from cqlbench.reporting.aggregate import Spread, Summary
from cqlbench.reporting.published import Published

ABSENT = "–"
_TOLD = 12
"""A note names so many runs; the CSV files have all of them."""


def spread_text(spread: Spread, digits: int = 1) -> str:
    """Mean ± sample standard deviation."""
    return _with_deviation(spread.mean, spread.std, digits)


def pooled_text(spread: Spread, summary: Summary | None, digits: int = 1) -> str:
    """The same of a run's seeds, marked where they were made differently."""
    text = spread_text(spread, digits)
    return text if summary is None or spread.mean is None else marked(text, summary)


def marked(text: str, summary: Summary) -> str:
    """A text about all of a run's seeds, marked where they were made differently."""
    return f"{text} {MARK}" if summary.differing else text


def differing_notes(summaries: Iterable[Summary]) -> tuple[str, ...]:
    """What the mark means: how seeds of these runs were made, a sentence for each phrase."""
    runs: dict[str, list[str]] = {}
    for summary in summaries:
        for phrase in summary.differing:
            seeds, _, what = phrase.partition(": ")
            whose = f"{seeds} of {summary.label} on {summary.lead.dataset.id}"
            runs.setdefault(what, []).append(whose)
    return tuple(f"{MARK} {what[:1].upper()}{what[1:]}: {some(whose)}." for what, whose in runs.items())


def some(names: Sequence[str], most: int = _TOLD) -> str:
    """The names, or the first of many."""
    more = f"; and {len(names) - most:,} more" if len(names) > most else ""
    return "; ".join(names[:most]) + more


def published_text(score: Published) -> str:
    """A published score, ± its deviation where it has one."""
    return _with_deviation(score.mean, score.std, 1)


def interval_text(low: float | None, high: float | None, digits: int = 1) -> str:
    """An interval in brackets; a dash for none."""
    return ABSENT if low is None else f"[{number_text(low, digits)}, {number_text(high, digits)}]"


def number_text(value: float | None, digits: int = 1) -> str:
    """A number with `digits` decimals; a dash for none."""
    return ABSENT if value is None else format(value, f"z,.{digits}f")


def _with_deviation(mean: float | None, deviation: float | None, digits: int) -> str:
    text = number_text(mean, digits)
    return text if deviation is None else f"{text} ± {number_text(deviation, digits)}"
