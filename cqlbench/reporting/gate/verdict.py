"""Accepted runs and new ones -> verdicts: has a score dropped, and is it still the same algorithm?

Nothing is read, run or formatted here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np

from cqlbench.records.pooling import seeds_text
from cqlbench.records.schema import Machine
from cqlbench.reporting.aggregate import FEWEST_SEEDS, difference
from cqlbench.reporting.gate.baseline import Baseline, Entry, SuiteRun, entry_of, names_of
from cqlbench.reporting.gate.scores import Drop, Limits, drops, regressions, rises
from cqlbench.reporting.gate.training import Signal, changes, parting, parting_snapshot, signals
from cqlbench.reporting.report import Selection
from cqlbench.reporting.statistics import SAMPLES, Floats

Verdict = Literal["no change", "regression", "algorithm changed", "cannot say"]
_STATUS: Mapping[Verdict, int] = {"no change": 0, "regression": 1, "algorithm changed": 1, "cannot say": 2}

_SLOW = 0.5
"""Ratio of speeds below which a reader is told so."""


@dataclass(frozen=True)
class Line:
    """One run, or the whole suite.

    Attributes:
        reason: why, a sentence; empty where nothing changed.
        drop: of scores; `None` where it cannot be said.
        identical: how many of how many seeds have the accepted score to the last bit; `None` where no seeds
            are the same.
        parts: from which gradient step on training differs from the accepted one's in a bit: `never`, `1`,
            `11-200`; empty where other packages or machines may round otherwise.
        changed: diagnostics by which the algorithm is another one, the surest first.
        signals: how many diagnostics were compared.
        speed: gradient steps per matrix product of the machine, over the accepted ones; `None` where the two
            may not be compared.
        notes: what differs and may explain it, a clause each.
    """

    name: str
    verdict: Verdict
    reason: str = ""
    drop: Drop | None = None
    identical: tuple[int, int] | None = None
    parts: str = ""
    changed: tuple[Signal, ...] = ()
    signals: int = 0
    speed: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gate:
    """A suite against its baseline.

    Attributes:
        selection: which evaluations are scored.
        limits: what is more than chance.
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
        """A regression anywhere is one, then a change; else what cannot be said anywhere cannot be said."""
        verdicts = [line.verdict for line in (*self.lines, self.whole)]
        found: tuple[Verdict, ...] = ("regression", "algorithm changed", "cannot say")
        return next((verdict for verdict in found if verdict in verdicts), "no change")

    @property
    def status(self) -> int:
        """Exit status: 0 no change, 1 a regression or another algorithm, 2 cannot say."""
        return _STATUS[self.verdict]


@dataclass(frozen=True)
class Pair:
    """One run on both sides.

    Attributes:
        old: the accepted one.
        new: the one that is judged.
    """

    old: Entry
    new: Entry

    @property
    def seeds(self) -> tuple[str, ...]:
        """Those on both sides, if enough to compare seed by seed."""
        shared = tuple(seed for seed in self.new.scores if seed in self.old.scores)
        return shared if len(shared) >= FEWEST_SEEDS else ()

    @property
    def scores(self) -> tuple[Floats, Floats]:
        """Accepted and new scores: of the same seeds in the same order, or `[S]` each of others."""
        before, after = self.old.scores, self.new.scores
        x, y = (self.seeds or before), (self.seeds or after)
        return np.array([before[seed] for seed in x]), np.array([after[seed] for seed in y])


def judge(baseline: Baseline, runs: Sequence[SuiteRun], limits: Limits, samples: int = SAMPLES) -> Gate:
    """Compare a suite's runs with its baseline, by so many bootstrap samples."""
    accepted = dict(zip(names_of(baseline.entries), baseline.entries, strict=True))
    named = dict(zip(names_of(runs), runs, strict=True))
    pairs: dict[str, Pair] = {}
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
            pairs[name] = Pair(old, new)
    unknown += [Line(each, "cannot say", "The suite no longer has it.") for each in accepted]
    known, whole = _judged(baseline.suite, pairs, limits, samples)
    if unknown:
        reason = f"{len(unknown)} of {len(unknown) + len(pairs)} runs cannot be compared."
        whole = Line(baseline.suite, "cannot say", reason)
    lines = sorted((*known, *unknown), key=lambda line: (*named, line.name).index(line.name))
    return Gate(baseline.suite, baseline.selection, limits, tuple(lines), whole)


def same_kind(one: Machine, other: Machine) -> bool:
    """Whether two machines' throughputs may be compared, and may compute the same bits."""

    def kind(machine: Machine) -> tuple[Any, ...]:
        device = machine.device.partition(":")[0]
        return machine.cpu, machine.model, machine.cores, machine.threads, device, machine.gpu

    return kind(one) == kind(other)


def _judged(suite: str, pairs: Mapping[str, Pair], limits: Limits, samples: int) -> tuple[list[Line], Line]:
    if not pairs:
        return [], Line(suite, "cannot say", "No run can be compared.")
    before, after = zip(*(pair.scores for pair in pairs.values()), strict=True)
    found = drops(before, after, list(pairs), samples, [bool(pair.seeds) for pair in pairs.values()])
    fell, rose = regressions(found, limits), rises(found, limits)
    compared = [list(signals(pair.old.diagnostics, pair.new.diagnostics)) for pair in pairs.values()]
    chances = sum(map(len, compared))
    lines = [
        _line(name, pair, (found[place], fell[place], rose[place]), compared[place], limits, chances)
        for place, (name, pair) in enumerate(pairs.items())
    ]
    verdict: Verdict = "regression" if fell[-1] else "algorithm changed" if rose[-1] else "no change"
    reason = "The mean over runs dropped." if fell[-1] else "The mean over runs rose." if rose[-1] else ""
    return lines, Line(suite, verdict, reason, found[-1])


def _line(
    name: str,
    pair: Pair,
    scores: tuple[Drop, bool, bool],
    compared: Sequence[Signal],
    limits: Limits,
    chances: int,
) -> Line:
    (drop, fell, rose), (old, new), parts = scores, (pair.old, pair.new), _parts(pair)
    speed, changed = _speed(old, new), changes(compared, limits.false_alarms, chances)
    same = [old.scores[seed] == new.scores[seed] for seed in pair.seeds]
    worse = [
        *(["The score dropped."] if fell else []),
        *(["Training got slower."] if speed is not None and speed < limits.throughput else []),
    ]
    other = [
        *(["The score rose."] if rose else []),
        *([f"Its training is another: {_told(changed, len(compared))}."] if changed else []),
        *_not_alike(pair, parts, all(same)),
    ]
    verdict: Verdict = "regression" if worse else "algorithm changed" if other else "no change"
    notes = [*_notes(pair)]
    if not worse and speed is not None and speed < _SLOW:
        notes.append(f"training ran at {speed:.2f} of the accepted speed, in matrix products of the machine")
    return Line(
        name,
        verdict,
        " ".join([*worse, *other]),
        drop,
        (sum(same), len(same)) if same else None,
        parts,
        tuple(changed),
        len(compared),
        speed,
        tuple(notes),
    )


def _told(changed: Sequence[Signal], compared: int) -> str:
    first = changed[0]
    values = f"{first.before:.4g} against {first.after:.4g}"
    return f"{first.name} at step {first.step:,}, {values} ({len(changed)} of {compared} changed)"


def _not_alike(pair: Pair, parts: str, same_scores: bool) -> Iterator[str]:
    """What must not be where code, packages and kind of machine are the same."""
    if (
        not parts
        or pair.old.code is None
        or pair.old.code != pair.new.code
        or pair.old.config != pair.new.config
    ):
        return
    if parts != "never":
        yield f"Its code is the accepted run's, and training parts from it at gradient step {parts}."
    elif not same_scores:
        yield "Its code and its training are the accepted run's, and its scores are not."


def _parts(pair: Pair) -> str:
    """See `Line.parts`."""
    old, new, seeds = pair.old, pair.new, pair.seeds
    if not seeds or old.versions != new.versions or not same_kind(old.machine, new.machine):
        return ""
    first, steps = parting(old.first_steps, new.first_steps, seeds)
    if first is not None:
        return str(first)
    orders = [list(each.scores) for each in (old, new)]
    places = [(orders[0].index(seed), orders[1].index(seed)) for seed in seeds]
    span = parting_snapshot(old.diagnostics, new.diagnostics, places)
    if span is not None:
        return f"{max(span[0], steps + 1):,}-{span[1]:,}"
    return "never" if old.diagnostics and new.diagnostics else ""


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


def _notes(pair: Pair) -> Iterator[str]:
    old, new = pair.old, pair.new
    for name, ours, theirs in (("config", old.config, new.config), ("versions", old.versions, new.versions)):
        if ours != theirs:
            yield difference(name, ours, theirs)
    if not pair.seeds:
        yield "its seeds are others than the accepted ones, so both sides are drawn again by themselves"
    elif len(pair.seeds) < max(len(old.scores), len(new.scores)):
        yield f"scores of {seeds_text([*map(int, pair.seeds)])} are compared, which both sides have"
    if not old.diagnostics:
        yield "the baseline holds no training diagnostics; accept=true makes one that does"


def _speed(old: Entry, new: Entry) -> float | None:
    if old.batch != new.batch or not same_kind(old.machine, new.machine):
        return None
    ratios = [
        each.steps_per_second / each.products_per_second
        for each in (old, new)
        if each.steps_per_second and each.products_per_second
    ]
    return ratios[1] / ratios[0] if len(ratios) == 2 else None
