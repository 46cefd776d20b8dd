"""Records -> everything a report shows: datasets × algorithms, suite aggregates, published scores.

Nothing is formatted here and nothing is drawn: tables, plots and pages read a `Report`.
"""

import itertools
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from cqlbench.core.seeding import Purpose, numpy_generator
from cqlbench.records.schema import Record
from cqlbench.records.seed_result import SeedResult
from cqlbench.reporting import statistics
from cqlbench.reporting.aggregate import (
    FEWEST_SEEDS,
    Floats,
    PoolingError,
    Spread,
    Summary,
    summarise_largest,
)
from cqlbench.reporting.published import Comparison, Published, compare
from cqlbench.reporting.sections import CHOOSE, Section, check_table, columns, sections

Selection = Literal["last", "best", "mean10"]
SELECTIONS: Mapping[Selection, str] = {
    "last": "last evaluation",
    "best": "best evaluation (oracle selection)",
    "mean10": "mean of the last ten evaluations",
}
FIELDS = {"last": "last", "best": "best", "mean10": "late"}
"""Selection -> the field of `SeedResult` and `Summary` that holds its scores."""


_NAMED = 6
"""More columns are counted, not named, and not all compared with one another."""

AGGREGATES: Mapping[str, statistics.Statistic] = {
    "mean": statistics.mean,
    "median": statistics.median,
    "IQM": statistics.iqm,
    "optimality gap": statistics.optimality_gap,
}


@dataclass(frozen=True)
class Estimate:
    """A suite-wide number.

    Attributes:
        value: over all datasets; `None` where a dataset has no score.
        low: lower end of the stratified bootstrap's 95 % interval; `None` if a dataset has fewer than
            three seeds.
        high: upper end.
    """

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Cell:
    """One algorithm on one dataset.

    Attributes:
        dataset: full dataset id.
        algorithm: its name.
        summary: its seeds, failed and skipped ones included; `None`: no record at all.
        score: over the finished seeds, of the report's selection, 0-100 scale.
        seeds: the finished seeds' scores `[S]` that `score` is of, in order of seed.
        best: whether its mean lies in the interval of the row's highest; never if the row has one algorithm.
        published: published scores of the same dataset and algorithm; none where ours may not stand
            beside them.
    """

    dataset: str
    algorithm: str
    summary: Summary | None
    score: Spread
    seeds: Floats
    best: bool
    published: tuple[Comparison, ...]

    @property
    def unfinished(self) -> tuple[SeedResult, ...]:
        """Seeds that failed, were skipped, are not pooled, or left no record."""
        lines = self.summary.seeds if self.summary else ()
        return tuple(line for line in lines if line.status != "finished")

    @property
    def asked(self) -> int:
        """How many seeds there should be."""
        return len(self.summary.seeds) if self.summary else 0


@dataclass(frozen=True)
class Suite:
    """One algorithm over all the report's datasets.

    Attributes:
        algorithm: its name.
        datasets: how many of them it has a score of.
        runs: how many seeds in all.
        estimates: by name of the aggregate, see `AGGREGATES`; no values unless every dataset has a score.
    """

    algorithm: str
    datasets: int
    runs: int
    estimates: Mapping[str, Estimate]


@dataclass(frozen=True)
class Improvement:
    """How probably a run of `first` beats one of `second`, averaged over the report's datasets."""

    first: str
    second: str
    probability: Estimate


@dataclass(frozen=True)
class Report:
    """All that is shown of some runs.

    Attributes:
        selection: which evaluations are scored.
        budget: the budget of all of them.
        datasets: full ids, in order; the rows.
        algorithms: in order; the columns. Of an algorithm in several configurations, one for each:
            `cql (conservative_weight=5)`.
        cells: every dataset × algorithm, row by row, those without a record included.
        suites: one per algorithm.
        improvements: every pair of algorithms that both have a score of every dataset; of more than `_NAMED`,
            the one of the highest mean and each of the others.
        published: every published score.
        section: in what it differs from other reports that were made with it; empty for the only one.
        note: the same in words, but for the budget.
    """

    selection: Selection
    budget: str
    datasets: tuple[str, ...]
    algorithms: tuple[str, ...]
    cells: tuple[Cell, ...]
    suites: tuple[Suite, ...]
    improvements: tuple[Improvement, ...]
    published: tuple[Published, ...] = ()
    section: str = ""
    note: str = ""

    @property
    def whose(self) -> str:
        """Its algorithms, or how many columns there are of them."""
        if len(self.algorithms) <= _NAMED:
            return ", ".join(self.algorithms)
        names = dict.fromkeys(summary.lead.algorithm for summary in self.summaries)
        return f"{len(self.algorithms)} variants of {', '.join(names)}"

    @cached_property
    def _places(self) -> dict[tuple[str, str], Cell]:
        return {(cell.dataset, cell.algorithm): cell for cell in self.cells}

    def cell(self, dataset: str, algorithm: str) -> Cell:
        """One cell."""
        return self._places[dataset, algorithm]

    def row(self, dataset: str) -> tuple[Cell, ...]:
        """A dataset's cells, in order of algorithm."""
        return tuple(self.cell(dataset, algorithm) for algorithm in self.algorithms)

    def scores(self, algorithm: str) -> list[Floats]:
        """Per dataset `[S]`, as `reporting.statistics` takes it; empty arrays where there is none."""
        return [self.cell(dataset, algorithm).seeds for dataset in self.datasets]

    @property
    def summaries(self) -> tuple[Summary, ...]:
        """The runs, row by row."""
        return tuple(cell.summary for cell in self.cells if cell.summary is not None)


def build_reports(
    records: Sequence[Record],
    selection: Selection = "last",
    published: Sequence[Published] = (),
    samples: int = statistics.SAMPLES,
) -> tuple[Report, ...]:
    """A report of each section (`cqlbench.reporting.sections`), as `build_report` makes it.

    Raises:
        PoolingError: there are no records, or some of a section must not meet.
    """
    if not records:
        raise PoolingError("There are no records to report.")
    return tuple(_report(section, selection, published, samples) for section in sections(records))


def build_report(
    records: Sequence[Record],
    selection: Selection = "last",
    published: Sequence[Published] = (),
    samples: int = statistics.SAMPLES,
) -> Report:
    """Group the records of one section into cells and compute all that is shown of them.

    Args:
        records: one per key, failed and skipped ones included, in any order; the report is the same.
        selection: which evaluations are scored.
        published: scores to set beside ours, where ours may stand beside published ones.
        samples: bootstrap samples.

    Raises:
        PoolingError: there are none, they are of several sections, or a cell, a row or the table would pool
            what must not meet: dataset contents, environments, protocols.
    """
    found = sections(records)
    if len(found) != 1:
        raise PoolingError(
            f"The records are of {len(found)} sections: {', '.join(each.name for each in found)}."
            if found
            else "There are no records to report."
        )
    return _report(found[0], selection, published, samples)


def _report(section: Section, selection: Selection, published: Sequence[Published], samples: int) -> Report:
    named = columns(section.records)
    runs: dict[tuple[str, str], list[Record]] = {}
    for record in section.records:
        column = named[record.algorithm, record.config_hash]
        runs.setdefault((record.dataset.id, column), []).append(record)
    summaries = {place: replace(_cell(each), variant=place[1]) for place, each in runs.items()}
    check_table(list(summaries.values()))
    datasets = tuple(sorted({dataset for dataset, _ in runs}))
    names = tuple(dict.fromkeys(named.values()))
    cells: list[Cell] = []
    for dataset in datasets:
        row = [(name, summaries.get((dataset, name))) for name in names]
        spreads = [_score(summary, selection) for _, summary in row]
        cells += [
            Cell(
                dataset, name, summary, score, _seeds(summary, selection), best,
                _rivals(summary, selection, score, published),
            )
            for (name, summary), score, best in zip(row, spreads, best_of(spreads), strict=True)
        ]  # fmt: skip
    scores = {name: [cell.seeds for cell in cells if cell.algorithm == name] for name in names}
    return Report(
        selection=selection,
        budget=section.budget,
        datasets=datasets,
        algorithms=names,
        cells=tuple(cells),
        suites=tuple(_suite(name, scores[name], samples) for name in names),
        improvements=tuple(_improvements(scores, samples)),
        published=tuple(published),
        section=section.name,
        note=section.note,
    )


def _rivals(
    summary: Summary | None, selection: Selection, score: Spread, published: Sequence[Published]
) -> tuple[Comparison, ...]:
    if summary is None or summary.incomparable_because:
        return ()
    lead = summary.lead
    if lead.online is None:
        return compare(lead.dataset.id, lead.algorithm, selection, score, published)
    if selection != "last":  # of others nothing was published after fine-tuning
        return ()
    return compare(lead.dataset.id, lead.algorithm, "online", score, published)


def best_of(spreads: Sequence[Spread]) -> list[bool]:
    """Which of a row's scores may be the best: their mean lies inside the interval of the highest mean.

    Their own intervals do not count: else the more a score scatters, the sooner it is called the best. None,
    where there is nothing to compare with or the highest mean is of fewer than three seeds.
    """
    known = [spread for spread in spreads if spread.mean is not None]
    top = max(known, key=lambda spread: spread.mean or 0.0, default=None)
    if top is None or top.low is None or len(known) < 2:
        return [False] * len(spreads)
    return [spread.low is not None and (spread.mean or 0.0) >= top.low for spread in spreads]


def _cell(records: Sequence[Record]) -> Summary:
    try:
        return summarise_largest(records)
    except PoolingError as error:
        raise PoolingError(f"{str(error).rstrip('.')}; {CHOOSE}") from error


def _score(summary: Summary | None, selection: Selection) -> Spread:
    if summary is None:
        return Spread(0, None, None, None, None)
    spread: Spread = getattr(summary, FIELDS[selection])
    return spread


def _seeds(summary: Summary | None, selection: Selection) -> Floats:
    lines = [line for line in (summary.seeds if summary else ()) if line.status == "finished"]
    scores = [getattr(line, FIELDS[selection]) for line in lines]
    return np.array([score for score in scores if score is not None], np.float64)


def _suite(algorithm: str, scores: Sequence[Floats], samples: int) -> Suite:
    known = sum(len(each) > 0 for each in scores)
    estimates = {name: Estimate(None, None, None) for name in AGGREGATES}
    if known == len(scores):
        ends: list[tuple[float | None, float | None]] = [(None, None)] * len(AGGREGATES)
        if _enough(scores):
            generator = numpy_generator(0, Purpose.BOOTSTRAP, zlib.crc32(algorithm.encode()))
            ends[:] = statistics.bootstrap_intervals(scores, list(AGGREGATES.values()), generator, samples)
        estimates = {
            name: Estimate(float(aggregate(scores)), *interval)
            for (name, aggregate), interval in zip(AGGREGATES.items(), ends, strict=True)
        }
    return Suite(algorithm, known, sum(map(len, scores)), estimates)


def _improvements(scores: Mapping[str, Sequence[Floats]], samples: int) -> Iterator[Improvement]:
    whole = [name for name in scores if all(len(each) for each in scores[name])]
    pairs = list(itertools.combinations(whole, 2))
    if len(whole) > _NAMED:
        top = max(whole, key=lambda name: float(statistics.mean(scores[name])))
        pairs = [(top, name) for name in whole if name != top]
    for first, second in pairs:
        x, y = scores[first], scores[second]
        ends: tuple[float | None, float | None] = (None, None)
        if _enough(x) and _enough(y):
            names = [zlib.crc32(name.encode()) for name in (first, second)]
            generator = numpy_generator(0, Purpose.BOOTSTRAP, *names)
            ends = statistics.probability_of_improvement_interval(x, y, generator, samples)
        value = statistics.probability_of_improvement(x, y)
        yield Improvement(first, second, Estimate(value, *ends))


def _enough(scores: Sequence[Floats]) -> bool:
    return all(len(each) >= FEWEST_SEEDS for each in scores)
