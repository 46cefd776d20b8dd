"""`cqlbench gate`: a suite's runs against its accepted baseline; the exit status is the verdict."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from cqlbench.commands.arguments import truth
from cqlbench.commands.paper import suite_of
from cqlbench.commands.report import selection
from cqlbench.core import outputs
from cqlbench.core.errors import BUG, ConfigError
from cqlbench.experiments.compose import word
from cqlbench.experiments.recorded import differing
from cqlbench.experiments.suite import IncompleteSuiteError, make_runs
from cqlbench.records.provenance import Provenance, git_state, now
from cqlbench.records.schema import UNCOMMITTED, Record, RecordError
from cqlbench.records.store import safe_name
from cqlbench.reporting.gate import tables
from cqlbench.reporting.gate.baseline import Baseline, accept, read_baseline, write_baseline
from cqlbench.reporting.gate.verdict import Limits, judge
from cqlbench.reporting.tables import render

_FILES = ("gate.md", "gate.xml")
KEYS = ("baseline", "accept", "run", "select", "margin", "level", "throughput", "output")
_SELECT = "mean10"
"""What a new baseline is made of: single evaluations scatter more than a regression is large."""


def gate(words: Sequence[str], console: Console) -> int:
    """Run a suite where this checkout has not, and compare it with its baseline or accept it as one.

    Args:
        words: `suite=` (or `baseline=`, which names one), the others of `KEYS`, and any of `bench` but
            `dataset=` and `source=`.
        console: where everything is printed.

    Returns:
        0: no regression, or accepted. 1: a regression. 2: it cannot be said. 70: a dataset's run crashed,
        whatever the others say.

    Raises:
        UserError: a mistake in the words, no baseline, uncommitted code whose runs would be accepted, or
            files that cannot be read or written.
    """
    words = [{"--accept": "accept=true"}.get(each, each) for each in words]
    if not word(words, "suite", "") and word(words, "baseline", ""):
        words = [f"suite={read_baseline(Path(word(words, 'baseline', ''))).suite}", *words]
    suite, rest = suite_of(words, KEYS)
    values = {key: value for key in KEYS if (value := word(words, key, ""))}
    results = Path(word(words, "results", "results"))
    path = Path(values.get("baseline") or results / "baselines" / f"{safe_name(suite.name)}.json")
    accepting, limits = truth(values, "accept"), _limits(values)
    chosen = selection(values.get("select", _SELECT))
    if accepting and git_state().dirty:
        raise RecordError(f"A baseline cannot be accepted from {UNCOMMITTED}; commit them first.")
    baseline = None
    if not accepting or path.exists():  # what a new baseline replaces is an old one of the same suite
        baseline = _baseline(path, suite.name, "" if accepting else values.get("select", ""))
    output = Path(values.get("output") or results / "report" / f"gate-{safe_name(suite.name)}")
    if not accepting:
        outputs.check_folder(output, _FILES, "gate", "output")
    train = truth(values, "run", default=True)
    if not word(rest, "resume", ""):
        rest = ["resume=never", *rest]  # what was cut off may be of the code before
    runs = make_runs(suite, rest, console, _made_here if train else lambda *_: True, train)
    crashed = any(run.crashed for run in runs)
    if accepting or baseline is None:
        if crashed:
            raise IncompleteSuiteError(suite.name, runs)
        write_baseline(path, accept(suite.name, chosen, runs, now()))
        console.print(Text(f"Accepted {path}"), soft_wrap=True)
        return 0
    found = judge(baseline, runs, limits)
    content = tables.document(found)
    contents = (render.markdown(content).encode(), tables.junit(found))
    files = dict(zip(_FILES, contents, strict=True))
    try:
        outputs.write_folder(output, files, "gate", "output")
    finally:
        console.print()
        render.show(content, console, widest=160)
        console.print()
    for name in files:
        console.print(Text(f"Gate     {output / name}"), soft_wrap=True)
    return BUG if crashed else found.status


def _made_here(record: Record, origin: Provenance) -> bool:
    """Whether a record was made by this very code and the same packages, on the same kind of device.

    With uncommitted changes nobody can tell.
    """
    known = origin.git.commit is not None and origin.git.dirty is False
    same = known and record.git == origin.git and not record.earlier_commits
    return same and not differing([record], origin)


def _baseline(path: Path, suite: str, select: str) -> Baseline:
    baseline = read_baseline(path)
    if baseline.suite != suite:
        raise RecordError(f"Baseline '{path}' is of the suite {baseline.suite}, not {suite}.")
    if select not in ("", baseline.selection):
        raise ConfigError(f"select={select} differs from the baseline's, {baseline.selection}; leave it out.")
    return baseline


def _limits(values: Mapping[str, str]) -> Limits:
    """The limits that the words set.

    Raises:
        ConfigError: one is no number, or out of range.
    """
    ranges = {"margin": (0.0, math.inf), "level": (0.5, 1.0), "throughput": (0.0, 1.0)}
    found = {}
    for key, (low, high) in ranges.items():
        if key not in values:
            continue
        try:
            found[key] = float(values[key])
        except ValueError:
            found[key] = math.nan
        if not (low <= found[key] < high):
            raise ConfigError(f"{key}={values[key]} must be a number of at least {low:g} and below {high:g}.")
    return Limits(**found)
