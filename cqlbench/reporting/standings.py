"""Which column of a report is best, on each dataset and over all of them, and how sure that is."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan

import pandas as pd

from cqlbench.reporting.aggregate import CONFIDENCE, FEWEST_SEEDS, Floats
from cqlbench.reporting.comparison import difference_of
from cqlbench.reporting.report import Report, rows_of
from cqlbench.reporting.statistics import probability_of_improvement


@dataclass(frozen=True)
class Place:
    """A column's score somewhere; what is unknown is NaN.

    Attributes:
        mean: its score.
        low: lower end of the 95 % interval.
        above_behaviour: probability that a run of it scores more than its data, averaged over datasets.
    """

    name: str
    mean: float
    low: float
    high: float
    above_behaviour: float


@dataclass(frozen=True)
class Standing:
    """The columns that have a score of a dataset, or of each of a report's datasets.

    Attributes:
        where: the dataset's full id; empty for all datasets together.
        places: the highest mean first.
        beats_next: of each place, how probably a run of it beats one of the next, averaged over datasets.
        candidates: those of which one is the best with 95 % confidence: see `candidates`.
        behaviour: the data's mean score.
    """

    where: str
    places: tuple[Place, ...]
    beats_next: tuple[float, ...]
    candidates: tuple[str, ...]
    behaviour: float


def standings(report: Report) -> tuple[Standing, ...]:
    """Over all datasets, where there are several and a column has them all; then on each that has a score."""
    found = []
    whole = {name: scores for name, scores in report.scores.items() if all(map(len, scores))}
    if len(report.datasets) > 1 and whole:
        means = report.suite[report.suite["aggregate"] == "mean"].rename(columns={"value": "mean"})
        above = report.cells.groupby("algorithm")["above_behaviour"].mean()
        known = means[means["algorithm"].isin([*whole])]
        known = known.assign(above_behaviour=known["algorithm"].map(above))
        found.append(_standing("", known, whole, report.behaviour))
    for place, dataset in enumerate(report.datasets):
        cells = report.cells[(report.cells["dataset"] == dataset) & report.cells["mean"].notna()]
        if len(cells):
            scores = {name: [report.scores[name][place]] for name in cells["algorithm"]}
            found.append(_standing(dataset, cells, scores, float(cells["behaviour"].iloc[0])))
    return tuple(found)


def _standing(
    where: str, rows: pd.DataFrame, scores: Mapping[str, Sequence[Floats]], behaviour: float
) -> Standing:
    ordered = rows.sort_values(["mean", "algorithm"], ascending=[False, True])
    places = tuple(
        Place(row.algorithm, row.mean, row.low, row.high, row.above_behaviour) for row in rows_of(ordered)
    )
    pairs = itertools.pairwise(places)
    beats = [probability_of_improvement(scores[one.name], scores[other.name]) for one, other in pairs]
    return Standing(where, places, (*beats, nan), candidates(scores), behaviour)


def candidates(scores: Mapping[str, Sequence[Floats]]) -> tuple[str, ...]:
    """Columns of which one is the best with 95 % confidence, the highest mean first.

    Multiple comparisons with the best (Hsu 1981): a column is ruled out where the one of the highest mean is
    above it by Welch's one-sided t, corrected for as many tests as there are others (Bonferroni). So the
    truly best is ruled out in at most 5 % of cases. With fewer than three seeds none can be. Scores are
    arrays `[S]`, of the same datasets in the same order.
    """
    means = {name: sum(each.mean() for each in of_name) for name, of_name in scores.items()}
    first, *others = sorted(means, key=lambda name: (-means[name], name))
    level = 2 * (1 - CONFIDENCE) / max(1, len(others))
    if min(map(len, scores[first])) < FEWEST_SEEDS:
        return (first, *others)
    return first, *(name for name in others if not difference_of(scores[first], scores[name]).p < level)
