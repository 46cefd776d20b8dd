"""Mean ranks of a report's columns over its datasets, and which of them cannot be told apart (Demšar 2006).

Friedman's test asks whether the ranks are more than chance; Nemenyi's critical difference, which of them
differ. Both see a dataset's mean alone, not its seeds, so few datasets tell little: what they call equal may
well differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.special import chdtrc, ndtr
from scipy.stats import rankdata

from cqlbench.reporting.aggregate import CONFIDENCE, Floats

FEWEST = 3
"""Columns, and datasets, from which on ranks say something."""


@dataclass(frozen=True)
class Ranks:
    """Columns by their mean rank.

    Attributes:
        names: the columns, the best first.
        ranks: mean rank of each; 1 is the best, ties share theirs.
        datasets: over so many.
        p: how probably chance gives ranks so unlike one another (Friedman's test).
        critical: Nemenyi's critical difference of two mean ranks, 95 % sure for all pairs together.
    """

    names: tuple[str, ...]
    ranks: tuple[float, ...]
    datasets: int
    p: float
    critical: float

    @property
    def by_chance(self) -> bool:
        """Whether chance alone explains them."""
        return self.p >= 1 - CONFIDENCE

    @property
    def cliques(self) -> tuple[tuple[str, ...], ...]:
        """Largest groups whose members cannot be told apart: all, where Friedman's test finds nothing."""
        if self.by_chance:
            return (self.names,)
        reach = [
            sum(rank - first < self.critical for rank in self.ranks[place:]) + place
            for place, first in enumerate(self.ranks)
        ]
        ends = zip(reach, [0, *reach], range(len(reach)), strict=False)
        return tuple(self.names[start:end] for end, before, start in ends if end > max(before, start + 1))


def ranked(scores: Mapping[str, Sequence[float]]) -> Ranks | None:
    """The ranks of columns by their scores of the same datasets; `None` for fewer than `FEWEST` of either."""
    names, table = [*scores], np.array([*scores.values()], np.float64).T
    if table.ndim < 2 or min(table.shape) < FEWEST:
        return None
    ranks = rankdata(-table, axis=1)
    means = ranks.mean(axis=0)
    order = sorted(range(len(names)), key=lambda place: (means[place], names[place]))
    count, columns = table.shape
    return Ranks(
        names=tuple(names[place] for place in order),
        ranks=tuple(float(means[place]) for place in order),
        datasets=count,
        p=friedman(ranks),
        critical=range_quantile(columns, CONFIDENCE) * sqrt(columns * (columns + 1) / (12 * count)),
    )


def friedman(ranks: Floats) -> float:
    """Two-sided p of ranks `[D, K]`: Friedman's chi-square, corrected for ties; 1 where all are equal."""
    count, columns = ranks.shape
    middle = (columns + 1) / 2
    between = ((ranks.sum(axis=0) - count * middle) ** 2).sum()
    within = ((ranks - middle) ** 2).sum()
    square = float((columns - 1) * between / within) if within else 0.0
    return float(chdtrc(columns - 1, square))


def range_quantile(count: int, level: float) -> float:
    """Quantile of the range of so many standard normal numbers (the studentised range, spread known)."""
    at = np.linspace(-9.0, 9.0, 1_801)
    density = np.exp(-(at**2) / 2) / sqrt(2 * np.pi)
    low, high = 0.0, 20.0
    for _ in range(50):
        middle = (low + high) / 2
        below = np.trapezoid(count * density * (ndtr(at + middle) - ndtr(at)) ** (count - 1), at)
        low, high = (middle, high) if below < level else (low, middle)
    return high
