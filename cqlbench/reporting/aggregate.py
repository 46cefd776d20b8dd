"""Seeds of one run to a mean, a spread and an interval. Only records that may share a cell are pooled.

The interval is Student's t for the mean over seeds (95 %, n - 1 degrees of freedom). A percentile bootstrap
of few seeds is too narrow: simulated with normal scores, its 95 % interval covers the mean in 75 % of cases
with three seeds and in 83 % with five. Student's covers it in 95 %.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from cqlbench.core.errors import UserError
from cqlbench.records.pooling import differing, groups, origin_of
from cqlbench.records.schema import Record
from cqlbench.records.seed_result import SeedResult, mean_of, mean_score, seed_result

CONFIDENCE = 0.95
FEWEST_SEEDS = 3

Floats = NDArray[np.float64]


class PoolingError(UserError):
    """Records that cannot share a cell."""


@dataclass(frozen=True)
class Spread:
    """A number over seeds.

    Attributes:
        count: n, the seeds that have it.
        mean: over seeds; `None` for no seed.
        std: sample standard deviation (ddof = 1); `None` for fewer than two seeds.
        low: lower end of the interval of the mean; `None` for fewer than three seeds.
        high: upper end.
    """

    count: int
    mean: float | None
    std: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Curve:
    """Evaluations of the finished seeds at their common steps.

    Attributes:
        seeds: `[S]`.
        steps: `[P]` gradient steps.
        values: `[S, P]`; NaN where an episode failed.
        mean: `[P]` over seeds.
        low: `[P]` lower end of the interval; NaN for fewer than three seeds.
        high: `[P]` upper end.
        normalised: scores on the 0-100 scale; otherwise raw returns, where no endpoints are known.
    """

    seeds: tuple[int, ...]
    steps: NDArray[np.int64]
    values: Floats
    mean: Floats
    low: Floats
    high: Floats
    normalised: bool


@dataclass(frozen=True)
class Summary:
    """One cell of a benchmark: all seeds of one run.

    Attributes:
        records: what it was made from, in order of seed, failed and skipped ones included.
        seeds: a line per seed, including seeds that are not pooled, and those of the batch without a record.
        last: last evaluation, over the finished seeds.
        late: mean of the last ten evaluations.
        best: best evaluation of each seed.
        last_return: return of the last evaluation.
        curve: learning curves; `None` where no seed was evaluated to its end.
        variant: the column of its report; empty outside one.
    """

    records: tuple[Record, ...]
    seeds: tuple[SeedResult, ...]
    last: Spread
    late: Spread
    best: Spread
    last_return: Spread
    curve: Curve | None
    variant: str = ""

    @property
    def label(self) -> str:
        """The algorithm, or the column of a report that has several configurations of it."""
        return self.variant or self.lead.algorithm

    @property
    def finished(self) -> tuple[Record, ...]:
        """The records of the seeds that finished."""
        return tuple(record for record in self.records if record.status == "finished")

    @property
    def evaluated(self) -> tuple[Record, ...]:
        """The records of the seeds that finished and were evaluated."""
        return tuple(record for record in self.finished if record.evaluations)

    @property
    def lead(self) -> Record:
        """A record that speaks for all about data, configuration, budget and protocol."""
        return next(iter((*self.evaluated, *self.finished)), self.records[0])

    @property
    def incomparable_because(self) -> str:
        """Why the scores may not stand beside published ones: one seed that may not is enough."""
        return next(filter(None, (record.incomparable_because for record in self.records)), "")

    @property
    def differing(self) -> tuple[str, ...]:
        """How the pooled seeds were made, where a reader must know it: a phrase for each difference."""
        return differing({record.seed: origin_of(record) for record in self.finished})

    @property
    def first_frame(self) -> int | None:
        """Gradient steps before the first frame; `None` where one of the two phases is not there."""
        online = self.lead.online
        return online.offline_steps or None if online is not None else None

    @property
    def behaviour_label(self) -> str:
        """Whose mean stands beside the scores: the policy that made the data, or the data's own episodes."""
        return (self.lead.dataset.behaviour_source or "dataset episodes").partition(",")[0]


def reference_name(summaries: Sequence[Summary]) -> str:
    """What the datasets' means are: all of behaviour policies, or some of a dataset's own episodes."""
    policies = all("behaviour polic" in summary.behaviour_label for summary in summaries)
    return "Behaviour policy" if policies else "Dataset mean"


def summarise(records: Sequence[Record]) -> Summary:
    """Pool the seeds of one run.

    Raises:
        PoolingError: there are none, a seed comes twice, or they differ in dataset, content, algorithm,
            configuration, budget or protocol.
    """
    check_poolable(records)
    ordered = tuple(sorted(records, key=lambda record: record.seed))
    seeds = [seed_result(record) for record in ordered]
    batch = {seed for record in ordered for seed in record.seed_batch}
    for seed in batch - {record.seed for record in ordered}:
        seeds.append(SeedResult(seed, "missing", "its batch names it, but it left no record"))  # noqa: PERF401
    seeds.sort(key=lambda result: result.seed)

    def over(name: str) -> Spread:
        values = [getattr(result, name) for result in seeds if result.status == "finished"]
        return spread([value for value in values if value is not None])

    return Summary(
        records=ordered,
        seeds=tuple(seeds),
        last=over("last"),
        late=over("late"),
        best=over("best"),
        last_return=over("last_return"),
        curve=_curve([each for each in ordered if each.status == "finished" and each.evaluations]),
    )


def summarise_largest(records: Sequence[Record]) -> Summary:
    """Pool those seeds of one run that may share a mean, and list the others with why they may not.

    Of several groups of seeds, the one with the most finished seeds is pooled; of equals, the newest.

    Args:
        records: at least one.

    Raises:
        PoolingError: as `summarise`, but for contents and protocols.
    """
    ranked = sorted(
        _groups(records),
        key=lambda group: (
            sum(record.status == "finished" for record in group),
            max(record.created_at for record in group),
        ),
        reverse=True,
    )
    # Grouped again, since a seed that knows neither may join any.
    pooled, *apart = _groups([record for group in ranked for record in group])
    summary = summarise(pooled)
    lines = {result.seed: result for result in summary.seeds}
    for record in (record for group in apart for record in group):
        lines[record.seed] = SeedResult(record.seed, "not pooled", _apart_because(pooled, record))
    return replace(summary, seeds=tuple(lines[seed] for seed in sorted(lines)))


def check_poolable(records: Sequence[Record]) -> None:
    """Refuse what must not meet in one cell.

    Raises:
        PoolingError: one sentence that says what differs, and between which seeds.
    """
    if not records:
        raise PoolingError("There are no records to report.")
    checks: dict[str, Callable[[Record], Any]] = {
        "dataset": lambda record: record.dataset.id,
        "algorithm": lambda record: record.algorithm,
        "budget": lambda record: msgspec.to_builtins(record.budget),
        "config": lambda record: record.config,
    }
    for name, read in checks.items():
        for record in records[1:]:
            _check_same(name, records[0], record, read)
    pooled, *apart = _groups(records)
    if apart:
        raise PoolingError(_apart_because(pooled, apart[0][0]))
    seeds = [record.seed for record in records]
    twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if twice:
        raise PoolingError(f"Seed {twice[0]} of {records[0].dataset.id} is there twice; pool each seed once.")


def _groups(records: Sequence[Record]) -> list[list[Record]]:
    places = groups([origin_of(record) for record in records])
    return [[records[place] for place in group] for group in places]


def _apart_because(pooled: Sequence[Record], other: Record) -> str:
    """Why `other` may not share a mean with these records, which may with one another, and what to do."""
    checks: dict[str, Callable[[Record], Any]] = {
        "dataset content hash": lambda record: record.dataset.content_hash,
        "protocol": lambda record: record.protocol and msgspec.to_builtins(record.protocol),
    }
    said = (_unlike(name, record, other, read) for name, read in checks.items() for record in pooled)
    because = next(filter(None, said))
    return f"{because}; train them again with rerun=true, or report some of them with since= or until=."


def _check_same(name: str, first: Record, other: Record, read: Callable[[Record], Any]) -> None:
    because = _unlike(name, first, other, read)
    if because:
        raise PoolingError(f"{because}.")


def _unlike(name: str, first: Record, other: Record, read: Callable[[Record], Any]) -> str:
    """Why two records cannot share a cell; empty where they agree, or one does not know."""
    expected, value = read(first), read(other)
    if None in (expected, value) or value == expected:
        return ""
    seeds = f"Seeds {first.seed} and {other.seed} of {first.dataset.id}"
    return f"{seeds} cannot share a cell: {difference(name, expected, value)}"


def spread(values: ArrayLike) -> Spread:
    """Mean, sample standard deviation and Student's t interval of the mean.

    Args:
        values: `[S]`, one per seed.
    """
    numbers = np.asarray(values, np.float64)
    count = len(numbers)
    if count == 0:
        return Spread(0, None, None, None, None)
    mean = float(numbers.mean())
    if count == 1:
        return Spread(1, mean, None, None, None)
    std = float(numbers.std(ddof=1))
    if count < FEWEST_SEEDS:
        return Spread(count, mean, std, None, None)
    half = half_width(std, count)
    return Spread(count, mean, std, mean - half, mean + half)


def half_width(std: float, count: int) -> float:
    """Half of the 95 % Student's t interval of a mean of `count` values with sample deviation `std`."""
    return float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2)) * std / float(np.sqrt(count))


def _curve(records: Sequence[Record]) -> Curve | None:
    if not records:
        return None
    normalised = records[0].protocol is not None and records[0].protocol.score_min is not None
    per_seed = [
        {e.step: _known(mean_score(e) if normalised else mean_of(e.returns)) for e in record.evaluations}
        for record in records
    ]
    return curve_of([record.seed for record in records], per_seed, normalised)


def curve_of(seeds: Sequence[int], per_seed: Sequence[Mapping[int, float]], normalised: bool) -> Curve | None:
    """The curve of values at the steps that all seeds have; `None` where there are none.

    Args:
        seeds: `[S]`.
        per_seed: of each seed, step -> value; NaN where there is none.
        normalised: whether the values are scores.
    """
    steps = sorted(set.intersection(*(set(values) for values in per_seed)))
    if not steps:
        return None
    values = np.array([[points[step] for step in steps] for points in per_seed], np.float64)
    spreads = [spread(column) for column in values.T]
    ends = np.array([(s.mean, s.low, s.high) for s in spreads], np.float64)
    return Curve(
        tuple(seeds), np.array(steps, np.int64), values, ends[:, 0], ends[:, 1], ends[:, 2], normalised
    )


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def difference(name: str, first: Any, second: Any) -> str:
    """What differs between two values, of which the first differing part is told if they are mappings."""
    inside = ""
    while isinstance(first, Mapping) and isinstance(second, Mapping):
        pairs = {part: (first.get(part, "none"), second.get(part, "none")) for part in (*first, *second)}
        part = next(part for part, (ours, theirs) in pairs.items() if ours != theirs)
        first, second = pairs[part]
        inside = f"{inside}.{part}" if inside else part
    where = f"{name} ({inside})" if inside else name
    return f"their {where} differs, {first!r} against {second!r}"
