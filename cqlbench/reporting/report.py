"""Records -> everything a report shows: datasets × algorithms, suite aggregates, published scores.

Nothing is formatted here and nothing is drawn: tables, plots and pages read a `Report`.
"""

import itertools
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from cqlbench.records.result import SeedResult
from cqlbench.records.schema import Record
from cqlbench.reporting import statistics
from cqlbench.reporting.aggregate import (
    FEWEST_SEEDS,
    Floats,
    PoolingError,
    Spread,
    Summary,
    difference,
    summarise,
)
from cqlbench.reporting.published import Comparison, Published, compare
from cqlbench.seeding import Purpose, numpy_generator

Selection = Literal["last", "best", "mean10"]
SELECTIONS: Mapping[Selection, str] = {
    "last": "last evaluation",
    "best": "best evaluation (oracle selection)",
    "mean10": "mean of the last ten evaluations",
}
FIELDS = {"last": "last", "best": "best", "mean10": "late"}
"""Selection -> the field of `SeedResult` and `Summary` that holds its scores."""

_CHOOSE = "choose with dataset=, algorithm=, budget=, config=, since= or until=."

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
        """Seeds that failed, were skipped, or left no record."""
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
        algorithms: in order; the columns.
        cells: every dataset × algorithm, row by row, those without a record included.
        suites: one per algorithm.
        improvements: every pair of algorithms that both have a score of every dataset.
        published: every published score.
    """

    selection: Selection
    budget: str
    datasets: tuple[str, ...]
    algorithms: tuple[str, ...]
    cells: tuple[Cell, ...]
    suites: tuple[Suite, ...]
    improvements: tuple[Improvement, ...]
    published: tuple[Published, ...] = ()

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


def build_report(
    records: Sequence[Record],
    selection: Selection = "last",
    published: Sequence[Published] = (),
    samples: int = statistics.SAMPLES,
) -> Report:
    """Group the records into cells and compute all that is shown of them.

    Args:
        records: one per key, failed and skipped ones included, in any order; the report is the same.
        selection: which evaluations are scored.
        published: scores to set beside ours, where ours may stand beside published ones.
        samples: bootstrap samples.

    Raises:
        PoolingError: there are none, or a cell, a row or the table would pool what must not meet:
            configurations, dataset contents, versions, sources, budgets, environments, protocols.
    """
    if not records:
        raise PoolingError("There are no records to report.")
    ordered = sorted(records, key=lambda record: record.key)
    runs = {
        place: _cell(list(group))
        for place, group in itertools.groupby(ordered, lambda record: (record.dataset.id, record.algorithm))
    }
    check_table(list(runs.values()))
    datasets = tuple(sorted({dataset for dataset, _ in runs}))
    algorithms = tuple(sorted({algorithm for _, algorithm in runs}))
    cells = []
    for dataset in datasets:
        row = [(algorithm, runs.get((dataset, algorithm))) for algorithm in algorithms]
        spreads = [_score(summary, selection) for _, summary in row]
        for (algorithm, summary), score, best in zip(row, spreads, best_of(spreads), strict=True):
            online = summary is not None and summary.lead.online is not None
            beside = summary is not None and not summary.incomparable_because
            beside &= not online or selection == "last"  # of others nothing was published after fine-tuning
            kind = "online" if online else selection
            rivals = compare(dataset, algorithm, kind, score, published) if beside else ()
            cells.append(Cell(dataset, algorithm, summary, score, _seeds(summary, selection), best, rivals))
    scores = {name: [cell.seeds for cell in cells if cell.algorithm == name] for name in algorithms}
    return Report(
        selection=selection,
        budget=ordered[0].budget.name,
        datasets=datasets,
        algorithms=algorithms,
        cells=tuple(cells),
        suites=tuple(_suite(name, scores[name], samples) for name in algorithms),
        improvements=tuple(_improvements(scores, samples)),
        published=tuple(published),
    )


def check_table(summaries: Sequence[Summary]) -> None:
    """Refuse runs that must not meet in one table.

    Raises:
        PoolingError: one sentence that says what differs, between which runs.
    """
    for kind, group_of, value_of in _RULES:
        first_of: dict[Any, tuple[Record, Any]] = {}
        for summary in summaries:
            lead = summary.lead
            value = value_of(lead)
            if value is None:  # a run that was skipped early knows neither its data nor its protocol
                continue
            first, expected = first_of.setdefault(group_of(lead), (lead, value))
            if value != expected:
                raise PoolingError(
                    f"{_name(first)} and {_name(lead)} cannot share a table: "
                    f"{difference(kind, expected, value)}; {_CHOOSE}"
                )


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


def _unversioned(dataset: str) -> str:
    return dataset.rpartition("-v")[0] or dataset


def _protocol(record: Record, part: str = "") -> Any:
    if record.protocol is None:
        return None
    return getattr(record.protocol, part) if part else asdict(record.protocol)


def _place(record: Record) -> str | None:
    return record.protocol.environment.id if record.protocol else None


def _simulator(record: Record) -> Any:
    # Not the arguments: mazes of one environment differ in them.
    place = _protocol(record, "environment")
    return place and {part: getattr(place, part) for part in ("backend", "backend_version", "mujoco_version")}


def _table(_record: Record) -> None:
    return None


def _dataset(record: Record) -> str:
    return record.dataset.id


_RULES: tuple[tuple[str, Callable[[Record], Any], Callable[[Record], Any]], ...] = (
    ("source", _table, lambda record: record.dataset.id.partition("/")[0]),
    ("version", lambda record: _unversioned(record.dataset.id), _dataset),
    ("budget", _table, lambda record: record.budget.name),
    ("scores_version", _table, lambda record: record.config.get("scores_version")),
    ("budget", _dataset, lambda record: asdict(record.budget)),
    ("dataset content hash", _dataset, lambda record: record.dataset.content_hash),
    ("protocol", _dataset, _protocol),
    ("protocol (deterministic)", _table, lambda record: _protocol(record, "deterministic")),
    ("environment", _place, _simulator),
)
"""What must agree, among which records, and where it is read. Coarse ones first: their sentence says most."""


def _cell(records: Sequence[Record]) -> Summary:
    first = records[0]
    for other in records:
        if (other.key.budget, other.key.config_hash) != (first.key.budget, first.key.config_hash):
            budgets = first.key.budget, other.key.budget
            unlike = (
                difference("config", first.config, other.config)
                if budgets[0] == budgets[1]
                else difference("budget", *budgets)
            )
            raise PoolingError(f"{_name(first)} and {_name(other)} cannot share a cell: {unlike}; {_CHOOSE}")
    try:
        return summarise(records)
    except PoolingError as error:
        raise PoolingError(f"{str(error).rstrip('.')}; {_CHOOSE}") from error


def _name(record: Record) -> str:
    return f"{record.algorithm} on {record.dataset.id} ({record.budget.name}-{record.config_hash})"


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
    for first, second in itertools.combinations(whole, 2):
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
