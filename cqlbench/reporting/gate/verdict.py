"""Accepted scores and new ones -> verdicts: a regression is a drop that is both large and sure.

Nothing is read, run or formatted here.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np

from cqlbench.core.seeding import Purpose, numpy_generator
from cqlbench.records.schema import Machine
from cqlbench.reporting.aggregate import difference
from cqlbench.reporting.gate.baseline import Baseline, Entry, SuiteRun, entry_of, names_of
from cqlbench.reporting.report import Selection
from cqlbench.reporting.statistics import LEVEL, SAMPLES, Floats, difference_samples

Verdict = Literal["no regression", "regression", "cannot say"]
_STATUS: Mapping[Verdict, int] = {"no regression": 0, "regression": 1, "cannot say": 2}

_SLOW = 0.5
"""Ratio of gradient steps per second below which a reader is told so."""


@dataclass(frozen=True)
class Limits:
    """When a difference is a regression.

    Attributes:
        margin: a drop must be larger, in points of the 0-100 scale.
        level: and the bootstrap probability of a drop higher; where there are several datasets, than
            1 − (1 − level)/(D + 1), for each of the D and for the whole suite (Bonferroni).
        throughput: lowest ratio of gradient steps per second, on machines of one kind; 0 asks for none, since
            a machine that does other work is slow whatever the code.
    """

    margin: float = 5.0
    level: float = 0.9
    throughput: float = 0.0


@dataclass(frozen=True)
class Drop:
    """How far scores fell, in points; negative: they rose.

    Attributes:
        before: accepted mean.
        after: new mean.
        low: lower end of the drop's 95 % bootstrap interval.
        high: upper end.
        probability: bootstrap probability that there is a drop.
    """

    before: float
    after: float
    low: float
    high: float
    probability: float

    @property
    def drop(self) -> float:
        """The drop itself."""
        return self.before - self.after


@dataclass(frozen=True)
class Line:
    """One run, or the whole suite.

    Attributes:
        name: the run's, or the suite's.
        verdict: what is said of it.
        reason: why, a sentence; empty where there is no regression.
        drop: of scores; `None` where it cannot be said.
        speed: new throughput over the accepted one; `None` where the two may not be compared.
        notes: what differs and may explain it, a clause each.
    """

    name: str
    verdict: Verdict
    reason: str = ""
    drop: Drop | None = None
    speed: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gate:
    """A suite against its baseline.

    Attributes:
        suite: its name.
        selection: which evaluations are scored.
        limits: what a regression is.
        lines: one per run of the suite or the baseline.
        whole: all of them together.
    """

    suite: str
    selection: Selection
    limits: Limits
    lines: tuple[Line, ...]
    whole: Line

    @property
    def verdict(self) -> Verdict:
        """A regression anywhere is one; else what cannot be said anywhere cannot be said."""
        verdicts = [line.verdict for line in (*self.lines, self.whole)]
        found: tuple[Verdict, ...] = ("regression", "cannot say")
        return next((verdict for verdict in found if verdict in verdicts), "no regression")

    @property
    def status(self) -> int:
        """Exit status: 0 no regression, 1 regression, 2 cannot say."""
        return _STATUS[self.verdict]


def judge(baseline: Baseline, runs: Sequence[SuiteRun], limits: Limits, samples: int = SAMPLES) -> Gate:
    """Compare a suite's runs with its baseline.

    Args:
        baseline: what was accepted.
        runs: the suite's.
        limits: what a regression is.
        samples: bootstrap samples.
    """
    accepted = dict(zip(names_of(baseline.entries), baseline.entries, strict=True))
    named = dict(zip(names_of(runs), runs, strict=True))
    pairs: dict[str, tuple[Entry, Entry]] = {}
    unknown: list[Line] = []
    for name, run in named.items():
        new, old = entry_of(run, baseline.selection), accepted.pop(name, None)
        if old is None:
            unknown.append(Line(name, "cannot say", "The baseline has no runs of it."))
        elif isinstance(new, str):
            unknown.append(Line(name, "cannot say", new))
        elif unlike := _unlike(old, new):
            unknown.append(Line(name, "cannot say", f"It and the baseline do not compare: {unlike}."))
        else:
            pairs[name] = old, new
    unknown += [Line(each, "cannot say", "The suite no longer has it.") for each in accepted]
    known, whole = _judged(baseline.suite, pairs, limits, samples)
    if unknown:
        reason = f"{len(unknown)} of {len(unknown) + len(pairs)} runs cannot be compared."
        whole = Line(baseline.suite, "cannot say", reason)
    lines = sorted((*known, *unknown), key=lambda line: (*named, line.name).index(line.name))
    return Gate(baseline.suite, baseline.selection, limits, tuple(lines), whole)


def drops(
    before: Sequence[Floats], after: Sequence[Floats], names: Sequence[str], samples: int
) -> list[Drop]:
    """Every dataset's drop, and last the drop of the mean over datasets.

    Args:
        before: accepted scores, one array `[S]` per dataset.
        after: new scores, of the same datasets in the same order.
        names: of the datasets; they seed the bootstrap's generator.
        samples: bootstrap samples.
    """
    generator = numpy_generator(0, Purpose.BOOTSTRAP, zlib.crc32(" ".join(names).encode()))
    drawn = difference_samples(before, after, generator, samples)  # [D, samples]
    means = np.array([[x.mean(), y.mean()] for x, y in zip(before, after, strict=True)])  # [D, 2]
    found = []
    for one, (x, y) in zip([*drawn, drawn.mean(0)], [*means, means.mean(0)], strict=True):
        low, high = np.quantile(one, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        # Half of the ties: scores that are all the same are no evidence of a drop.
        sure = (one > 0).mean() + (one == 0).mean() / 2
        found.append(Drop(float(x), float(y), float(low), float(high), float(sure)))
    return found


def regressions(found: Sequence[Drop], limits: Limits) -> list[bool]:
    """Which of the drops of `drops` are both large and sure; of several, each must be surer."""
    chances = len(found) if len(found) > 2 else 1  # the suite of one dataset is that dataset
    level = 1 - (1 - limits.level) / chances
    return [each.drop > limits.margin and each.probability > level for each in found]


def same_kind(one: Machine, other: Machine) -> bool:
    """Whether two machines' throughputs may be compared."""

    def kind(machine: Machine) -> tuple[Any, ...]:
        device = machine.device.partition(":")[0]
        return machine.cpu, machine.cores, machine.threads, device, machine.gpu

    return kind(one) == kind(other)


def _judged(
    suite: str, pairs: Mapping[str, tuple[Entry, Entry]], limits: Limits, samples: int
) -> tuple[list[Line], Line]:
    if not pairs:
        return [], Line(suite, "cannot say", "No run can be compared.")
    before, after = (
        [np.array(list(each.scores.values())) for each in side] for side in zip(*pairs.values(), strict=True)
    )
    found = drops(before, after, list(pairs), samples)
    *each_fell, suite_fell = regressions(found, limits)
    lines = []
    for (name, (old, new)), drop, fell in zip(pairs.items(), found[:-1], each_fell, strict=True):
        speed = _speed(old, new)
        reasons = [
            *(["The score fell."] if fell else []),
            *(["Training got slower."] if speed is not None and speed < limits.throughput else []),
        ]
        verdict: Verdict = "regression" if reasons else "no regression"
        notes = (*_notes(old, new), *(_slow(speed) if verdict == "no regression" else ()))
        lines.append(Line(name, verdict, " ".join(reasons), drop, speed, notes))
    reason = "The mean over runs fell." if suite_fell else ""
    return lines, Line(suite, "regression" if suite_fell else "no regression", reason, found[-1])


def _unlike(old: Entry, new: Entry) -> str:
    """What differs that must not; a clause."""
    for name, ours, theirs in (
        ("algorithm", old.algorithm, new.algorithm),
        ("dataset content hash", old.content_hash, new.content_hash),
        ("budget", msgspec.to_builtins(old.budget), msgspec.to_builtins(new.budget)),
        ("protocol", msgspec.to_builtins(old.protocol), msgspec.to_builtins(new.protocol)),
    ):
        if ours != theirs:
            return difference(name, ours, theirs)
    return ""


def _notes(old: Entry, new: Entry) -> tuple[str, ...]:
    pairs = (("config", old.config, new.config), ("versions", old.versions, new.versions))
    return tuple(difference(name, ours, theirs) for name, ours, theirs in pairs if ours != theirs)


def _slow(speed: float | None) -> Iterator[str]:
    if speed is not None and speed < _SLOW:
        yield f"training ran at {speed:.2f} of the accepted speed: slower code, or a busy machine"


def _speed(old: Entry, new: Entry) -> float | None:
    if old.steps_per_second is None or new.steps_per_second is None or old.batch != new.batch:
        return None
    return new.steps_per_second / old.steps_per_second if same_kind(old.machine, new.machine) else None
