"""Seeds of one run to a mean, a spread and an interval. Only records that may share a cell are pooled.

The interval is Student's t for the mean over seeds (95 %, n - 1 degrees of freedom). A percentile bootstrap
of few seeds is too narrow: simulated with normal scores, its 95 % interval covers the mean in 75 % of cases
with three seeds and in 83 % with five. Student's covers it in 95 %.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import nan
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
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
    """A number over seeds; what is unknown is NaN.

    Attributes:
        count: n, the seeds that have it.
        mean: over seeds.
        std: sample standard deviation (ddof = 1); NaN for fewer than two seeds.
        low: lower end of the interval of the mean; NaN for fewer than three seeds.
    """

    count: int
    mean: float = nan
    std: float = nan
    low: float = nan
    high: float = nan


def spread(values: Iterable[float | None]) -> Spread:
    """Mean, sample standard deviation and Student's t interval of values, one per seed that has one."""
    numbers = np.array([value for value in values if value is not None], np.float64)
    count = len(numbers)
    if count == 0:
        return Spread(0)
    mean, std = float(numbers.mean()), float(numbers.std(ddof=1)) if count > 1 else nan
    if count < FEWEST_SEEDS:
        return Spread(count, mean, std)
    half = float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2)) * std / float(np.sqrt(count))
    return Spread(count, mean, std, mean - half, mean + half)


@dataclass(frozen=True)
class Curve:
    """Evaluations of the finished seeds at their common steps.

    Attributes:
        seeds: `[S]`.
        steps: `[P]` gradient steps.
        values: `[S, P]`; NaN where an episode failed.
        mean: `[P]` over seeds.
        low: `[P]` lower end of the interval; NaN for fewer than three seeds.
        normalised: scores on the 0-100 scale; otherwise raw returns, where no reference scores are known.
    """

    seeds: tuple[int, ...]
    steps: NDArray[np.int64]
    values: Floats
    mean: Floats
    low: Floats
    high: Floats
    normalised: bool


def curve_of(
    seeds: Sequence[int], per_seed: Sequence[Mapping[int, float | None]], normalised: bool
) -> Curve | None:
    """The curve of values, by step for each seed, at the steps that all have; `None` where there are none."""
    steps = sorted(set.intersection(*map(set, per_seed))) if per_seed else []
    if not steps:
        return None
    values = np.array([[points[step] for step in steps] for points in per_seed], np.float64)
    ends = np.array([(each.mean, each.low, each.high) for each in map(spread, values.T)])
    mean, low, high = ends.T
    return Curve(tuple(seeds), np.array(steps, np.int64), values, mean, low, high, normalised)


@dataclass(frozen=True)
class Summary:
    """One cell of a benchmark: all seeds of one run.

    Attributes:
        records: what it was made from, in order of seed, failed and skipped ones included.
        seeds: a line per seed, including seeds that are not pooled, and those of the batch without a record.
        variant: the column of its report; empty outside one.
    """

    records: tuple[Record, ...]
    seeds: tuple[SeedResult, ...]
    variant: str = ""

    def values(self, field: str) -> list[float]:
        """A field of `SeedResult`, of each finished seed that has it."""
        values = (getattr(line, field) for line in self.seeds if line.status == "finished")
        return [value for value in values if value is not None]

    def over(self, field: str) -> Spread:
        """The same over seeds."""
        return spread(self.values(field))

    @cached_property
    def curve(self) -> Curve | None:
        """Learning curves; `None` where no seed was evaluated to its end."""
        evaluated = self.evaluated
        protocol = evaluated[0].protocol if evaluated else None
        normalised = protocol is not None and protocol.score_min is not None
        value_of = mean_score if normalised else lambda each: mean_of(each.returns)
        per_seed = [{each.step: value_of(each) for each in record.evaluations} for record in evaluated]
        return curve_of([record.seed for record in evaluated], per_seed, normalised)

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
        return (*self.evaluated, *self.finished, *self.records)[0]

    @property
    def incomparable_because(self) -> str:
        """Why the scores may not stand beside published ones: one seed that may not is enough."""
        return next(filter(None, (record.incomparable_because for record in self.records)), "")

    @cached_property
    def differing(self) -> tuple[str, ...]:
        """How the pooled seeds were made, where a reader must know it: a phrase for each difference."""
        return differing({record.seed: origin_of(record) for record in self.finished})

    @property
    def first_frame(self) -> int | None:
        """Gradient steps before the first frame; `None` without fine-tuning, or without steps before it."""
        online = self.lead.online
        return online.offline_steps or None if online is not None else None

    @property
    def behaviour_label(self) -> str:
        """Whose mean stands beside the scores: the policy that made the data, or the data's own episodes."""
        return (self.lead.dataset.behaviour_source or "dataset episodes").partition(",")[0]


def reference_name(summaries: Iterable[Summary]) -> str:
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
    lines = {record.seed: seed_result(record) for record in ordered}
    for seed in itertools.chain(*(record.seed_batch for record in ordered)):
        lines.setdefault(seed, SeedResult(seed, "missing", "its batch names it, but it left no record"))
    return Summary(ordered, tuple(lines[seed] for seed in sorted(lines)))


def summarise_largest(records: Sequence[Record]) -> Summary:
    """Pool those seeds of one run that may share a mean, and list the others with why they may not.

    Of several groups of seeds, the one with the most finished seeds is pooled; of equals, the newest.

    Raises:
        PoolingError: as `summarise`, but for contents and protocols.
    """

    def rank(group: list[Record]) -> tuple[int, str]:
        finished = sum(record.status == "finished" for record in group)
        return finished, max(record.created_at for record in group)

    ranked = sorted(_groups(records), key=rank, reverse=True)
    # Grouped again, since a seed that knows neither may join any.
    pooled, *apart = _groups([*itertools.chain(*ranked)])
    summary = summarise(pooled)
    lines = {line.seed: line for line in summary.seeds}
    for record in itertools.chain(*apart):
        lines[record.seed] = SeedResult(record.seed, "not pooled", _apart_because(pooled, record))
    return replace(summary, seeds=tuple(lines[seed] for seed in sorted(lines)))


_Readers = Mapping[str, Callable[[Record], Any]]
_OF_A_RUN: _Readers = {
    "dataset": lambda record: record.dataset.id,
    "algorithm": lambda record: record.algorithm,
    "budget": lambda record: msgspec.to_builtins(record.budget),
    "config": lambda record: record.config,
}
_OF_A_GROUP: _Readers = {
    "dataset content hash": lambda record: record.dataset.content_hash,
    "protocol": lambda record: record.protocol and msgspec.to_builtins(record.protocol),
}


def check_poolable(records: Sequence[Record]) -> None:
    """Refuse what must not meet in one cell.

    Raises:
        PoolingError: one sentence that says what differs, and between which seeds.
    """
    if not records:
        raise PoolingError("There are no records to report.")
    because = next(_unlike(_OF_A_RUN, records[:1], records[1:]), "")
    if because:
        raise PoolingError(f"{because}.")
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
    because = next(_unlike(_OF_A_GROUP, pooled, [other]))
    return f"{because}; train them again with rerun=true, or report some of them with since= or until=."


def _unlike(read: _Readers, firsts: Sequence[Record], others: Sequence[Record]) -> Iterator[str]:
    """Why one of the first and one of the others cannot share a cell; one that does not know always can."""
    for (name, of), first, other in itertools.product(read.items(), firsts, others):
        expected, value = of(first), of(other)
        if None not in (expected, value) and value != expected:
            seeds = f"Seeds {first.seed} and {other.seed} of {first.dataset.id}"
            yield f"{seeds} cannot share a cell: {difference(name, expected, value)}"


def difference(name: str, first: Any, second: Any) -> str:
    """What differs between two values, of which the first differing part is named if they are mappings."""
    inside = ""
    while isinstance(first, Mapping) and isinstance(second, Mapping):
        pairs = {part: (first.get(part, "none"), second.get(part, "none")) for part in (*first, *second)}
        part = next(part for part, (own, other) in pairs.items() if own != other)
        first, second = pairs[part]
        inside = f"{inside}.{part}" if inside else part
    where = f"{name} ({inside})" if inside else name
    return f"their {where} differs, {first!r} against {second!r}"
