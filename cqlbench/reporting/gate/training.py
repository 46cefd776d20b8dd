"""Training as the gate compares it: diagnostics at fixed steps over seeds, and the first steps bit by bit."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

from cqlbench.records.schema import Count, Part, Record
from cqlbench.reporting.statistics import Floats

_ROUNDING = 1e-5
"""Relative difference that another processor's rounding may make, where seeds do not scatter at all."""


class Snapshot(Part, frozen=True, kw_only=True):
    """The training diagnostics of a seed batch at one step.

    Attributes:
        step: gradient steps taken.
        values: by name, one per seed: the mean over the steps since the row of the record before.
    """

    step: Count
    values: Mapping[str, tuple[float | None, ...]]


@dataclass(frozen=True)
class Signal:
    """One diagnostic at one step, on both sides.

    Attributes:
        step: gradient steps taken.
        before: accepted mean over seeds.
        std: standard deviation over seeds, pooled from both sides.
        probability: that seeds of one and the same algorithm differ as much: two-sided, Student's t.
    """

    step: int
    name: str
    before: float
    after: float
    std: float
    probability: float


def snapshots(records: Sequence[Record]) -> tuple[Snapshot, ...]:
    """The first row of the records' diagnostics, and those at a quarter, half and the end of training."""
    rows = [{int(row["step"] or 0): row for row in record.diagnostics} for record in records]
    steps = sorted(set.intersection(*map(set, rows)))
    chosen = sorted({max(0, len(steps) * quarters // 4 - 1) for quarters in (0, 1, 2, 4)}) if steps else []
    found = []
    for step in (steps[place] for place in chosen):
        at = [each[step] for each in rows]
        names = [name for name in at[0] if name != "step"]
        values = {name: tuple(row.get(name) for row in at) for name in names}
        found.append(Snapshot(step=step, values=values))
    return tuple(found)


def first_digests(record: Record) -> str:
    """Eight hexadecimal digits for the diagnostics of each of the first gradient steps."""
    return " ".join(
        hashlib.blake2b(json.dumps(row, sort_keys=True).encode(), digest_size=4).hexdigest()
        for row in record.first_steps
    )


def signals(before: Sequence[Snapshot], after: Sequence[Snapshot]) -> Iterator[Signal]:
    """Each diagnostic of a step that both sides have, of at least two seeds on each."""
    now = {each.step: each.values for each in after}
    for each in before:
        for name, old in each.values.items():
            x, y = (_known(values) for values in (old, now.get(each.step, {}).get(name, ())))
            if min(len(x), len(y)) > 1:
                yield _signal(each.step, name, x, y)


def changes(found: Sequence[Signal], false_alarms: float, chances: int) -> list[Signal]:
    """Those by which the algorithm is another one, the surest first.

    `false_alarms` is the share of comparisons of one and the same algorithm that may find any, all `chances`
    signals together (Bonferroni).
    """
    changed = [each for each in found if each.probability < false_alarms / max(chances, 1)]
    return sorted(changed, key=lambda each: each.probability)


def parting(
    before: Mapping[str, str], after: Mapping[str, str], seeds: Sequence[str]
) -> tuple[int | None, int]:
    """Where `first_digests` of the seeds on both sides differ, and how many steps could be compared.

    Returns:
        The first gradient step, counted from 1, at which a seed differs, or `None`; and the number of steps.
    """
    pairs = [(before.get(seed, "").split(), after.get(seed, "").split()) for seed in seeds]
    steps = min((min(map(len, pair)) for pair in pairs), default=0)
    differing = (step for step in range(steps) if any(old[step] != new[step] for old, new in pairs))
    first = next(differing, None)
    return None if first is None else first + 1, steps


def parting_snapshot(
    before: Sequence[Snapshot], after: Sequence[Snapshot], places: Sequence[tuple[int, int]]
) -> tuple[int, int] | None:
    """The gradient steps, first and last, among which the same seeds part; `None` where they never do.

    `places` are the positions in the values, accepted and new, of each seed on both sides.
    """
    now, last = {each.step: each.values for each in after}, 0
    for each in before:
        for name, old in each.values.items():
            new = now.get(each.step, {}).get(name)
            if new is not None and any(old[one] != new[other] for one, other in places):
                return last + 1, each.step
        last = each.step
    return None


def _signal(step: int, name: str, x: Floats, y: Floats) -> Signal:
    freedom = len(x) + len(y) - 2
    pooled = float(np.sqrt((np.square(x - x.mean()).sum() + np.square(y - y.mean()).sum()) / freedom))
    before, after = float(x.mean()), float(y.mean())
    # Seeds of one algorithm scatter alike on both sides, so the variances are pooled.
    least = _ROUNDING * max(abs(before), abs(after))
    error = max(pooled, least) * float(np.sqrt(1 / len(x) + 1 / len(y)))
    t = (after - before) / error if error else 0.0
    return Signal(step, name, before, after, pooled, float(2 * stdtr(freedom, -abs(t))))


def _known(values: Sequence[float | None]) -> Floats:
    return np.array([value for value in values if value is not None], np.float64)
