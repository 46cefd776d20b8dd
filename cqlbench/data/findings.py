"""What the checks of a dataset are held against, and what they find."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

_NAMED = 5
"""Rows that a finding names."""

Severity = Literal["ok", "warning", "doubt", "error"]


@dataclass(frozen=True)
class Expected:
    """What a dataset is held against; all but the bounds may be unknown.

    Attributes:
        action_low: the lowest action, `[A]` or one number.
        action_high: the highest action, `[A]` or one number.
        episode_limit: steps of the time limit.
        transitions: rows of the source, dropped ones included.
        episodes: episodes of the source.
        mean_return: mean undiscounted return of its whole episodes.
        clippable: the largest share of rows whose actions may be clipped: of more, the bounds are wrong.
        trusted_ends: whether doubts about end flags are warnings only.
        trusted_rows: whether the user says that rows are right, however odd they look (see `alignment`).
    """

    action_low: ArrayLike = -1.0
    action_high: ArrayLike = 1.0
    episode_limit: int | None = None
    transitions: int | None = None
    episodes: int | None = None
    mean_return: float | None = None
    clippable: float = 0.01
    trusted_ends: bool = False
    trusted_rows: bool = False


@dataclass(frozen=True)
class Finding:
    """One check's outcome.

    Attributes:
        severity: `ok`; `warning`: train, but know; `doubt`: train, but `data check` fails; `error`: refused.
        message: one sentence; empty if all is well.
        count: rows, episodes or dimensions concerned.
        rows: the first few of the rows concerned.
    """

    check: str
    severity: Severity = "ok"
    message: str = ""
    count: int = 0
    rows: tuple[int, ...] = field(default=())


def found(check: str, severity: Severity, rows: Sequence[int] | NDArray[np.int64], message: str) -> Finding:
    """A finding that concerns `rows`, of which it names the first few."""
    named = tuple(int(row) for row in rows[:_NAMED])
    return Finding(check, severity, message, len(rows), named)
