"""Columns of a report held against one another: paired by dataset, with an interval, a test and a sentence.

Datasets are taken as they are, and seeds as drawn: what is said holds of the mean over these datasets.
"""

import itertools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan, sqrt

import numpy as np
from scipy.special import stdtr, stdtrit

from cqlbench.core.seeding import Purpose, numpy_generator
from cqlbench.reporting import statistics
from cqlbench.reporting.aggregate import CONFIDENCE, FEWEST_SEEDS, Floats
from cqlbench.reporting.report import NAMED, Report

SURE = 1 - CONFIDENCE


@dataclass(frozen=True)
class Difference:
    """A difference of means, the first less the second.

    Attributes:
        value: the difference, in points.
        low: lower end of its 95 % interval (Welch 1947: Student's t, each mean with its own variance).
        p: two-sided probability of such a difference between equals, after Holm's correction where several
            are tested; NaN where there are too few seeds.
    """

    value: float
    low: float = nan
    high: float = nan
    p: float = nan

    @property
    def sure(self) -> bool:
        """Whether chance is no explanation."""
        return self.p < SURE


@dataclass(frozen=True)
class Comparison:
    """Two columns of a report over the datasets of which both have scores.

    Attributes:
        datasets: full ids.
        left_out: those that one of them has not enough seeds of.
        whole: the difference of the means over the datasets.
        each: the difference on each dataset.
        probability: that a run of the first beats one of the second, averaged over the datasets.
        low: lower end of its stratified bootstrap interval.
    """

    first: str
    second: str
    datasets: tuple[str, ...]
    left_out: tuple[str, ...]
    whole: Difference
    each: tuple[Difference, ...]
    probability: float
    low: float
    high: float

    @property
    def sentence(self) -> str:
        """What can be said, for people."""
        ahead, count = self.whole.value >= 0, len(self.datasets)
        better, worse = (self.first, self.second) if ahead else (self.second, self.first)
        low, high = (self.whole.low, self.whole.high) if ahead else (-self.whole.high, -self.whole.low)
        chance = self.probability if ahead else 1 - self.probability
        over = f" on average over {count} datasets" if count > 1 else ""
        text = f"{better} is better than {worse}, by"
        if not self.whole.sure:
            text = f"{better} and {worse} cannot be told apart: the former is ahead by"
        text += (
            f" {abs(self.whole.value):.1f} points{over} (95 % interval {low:z.1f} to {high:z.1f}, "
            f"p = {self.whole.p:.2g}), and a run of it beats one of {worse} with probability {chance:.2f}."
        )
        if count > 1:
            sure = [(each.value > 0) == ahead for each in self.each if each.sure]
            text += (
                f" It is surely ahead on {sure.count(True)} of them, surely behind on {sure.count(False)}."
            )
        return text


def compare_columns(
    report: Report, order: Sequence[str] = (), samples: int = statistics.SAMPLES
) -> list[Comparison]:
    """Every pair of a report's columns that have a dataset in common, with three seeds of each.

    Of many columns only the one of the highest mean is compared with the others. All pairs are one family of
    tests, and all their datasets another (Holm 1979). Algorithms of `order` come first, in this order.
    """
    algorithms = {summary.label: summary.lead.algorithm for summary in report.summaries.values()}
    known = [name for name in report.algorithms if name in algorithms]
    ranks = {name: place for place, name in enumerate(order)}
    known.sort(key=lambda name: ranks.get(algorithms[name], len(order)))
    pairs = list(itertools.combinations(known, 2))
    if len(known) > NAMED:
        top = report.cells.groupby("algorithm")["mean"].mean().idxmax()
        pairs = [(str(top), name) for name in known if name != top]
    each_pair = [_pair(report, first, second, samples) for first, second in pairs]
    found = [pair for pair in each_pair if pair is not None]
    wholes = holm([pair.whole.p for pair in found])
    singles = iter(holm([each.p for pair in found for each in pair.each]))
    return [
        replace(
            pair,
            whole=replace(pair.whole, p=p),
            each=tuple(replace(each, p=next(singles)) for each in pair.each),
        )
        for pair, p in zip(found, wholes, strict=True)
    ]


def difference_of(x: Sequence[Floats], y: Sequence[Floats]) -> Difference:
    """The difference of means over datasets, of independent seeds; `[S]` of each dataset, in one order."""
    sides = [*x, *y]
    value = float(np.mean([each.mean() for each in x]) - np.mean([each.mean() for each in y]))
    if min(map(len, sides)) < FEWEST_SEEDS:
        return Difference(value)
    parts = np.array([each.var(ddof=1) / len(each) for each in sides])
    if not parts.any():
        return Difference(value, value, value, float(value == 0))
    freedom = parts.sum() ** 2 / sum(parts**2 / [len(each) - 1 for each in sides])
    error = sqrt(parts.sum()) / len(x)
    half = float(stdtrit(freedom, 0.5 + CONFIDENCE / 2)) * error
    return Difference(value, value - half, value + half, float(2 * stdtr(freedom, -abs(value) / error)))


def holm(probabilities: Sequence[float]) -> list[float]:
    """Holm's step-down correction: each test's p so that all together err as rarely as one (Holm 1979)."""
    order = sorted(range(len(probabilities)), key=lambda place: probabilities[place])
    corrected, least = [nan] * len(order), 0.0
    for done, place in enumerate(order):
        least = max(least, min(1.0, (len(order) - done) * probabilities[place]))
        corrected[place] = least
    return corrected


def _pair(report: Report, first: str, second: str, samples: int) -> Comparison | None:
    scores = zip(report.datasets, report.scores[first], report.scores[second], strict=True)
    pairs = {name: (one, other) for name, one, other in scores}
    both = {name: pair for name, pair in pairs.items() if min(map(len, pair)) >= FEWEST_SEEDS}
    if not both:
        return None
    x, y = map(list, zip(*both.values(), strict=True))
    names = [zlib.crc32(name.encode()) for name in (first, second)]
    generator = numpy_generator(0, Purpose.BOOTSTRAP, *names)
    low, high = statistics.probability_of_improvement_interval(x, y, generator, samples)
    return Comparison(
        first=first,
        second=second,
        datasets=tuple(both),
        left_out=tuple(name for name in pairs if name not in both),
        whole=difference_of(x, y),
        each=tuple(difference_of([one], [other]) for one, other in both.values()),
        probability=statistics.probability_of_improvement(x, y),
        low=low,
        high=high,
    )
