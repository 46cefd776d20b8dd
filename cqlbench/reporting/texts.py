"""Numbers as tables say them."""

from cqlbench.reporting.aggregate import Spread
from cqlbench.reporting.published import Published

ABSENT = "–"


def spread_text(spread: Spread, digits: int = 1) -> str:
    """Mean ± sample standard deviation."""
    return _with_deviation(spread.mean, spread.std, digits)


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
