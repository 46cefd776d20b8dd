"""`cqlbench gate`: a suite's runs against its accepted baseline; the exit status is the verdict."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from cqlbench.commands.paper import suite_of
from cqlbench.core import outputs
from cqlbench.core.errors import BUG, ConfigError
from cqlbench.experiments.compose import value_of
from cqlbench.experiments.recorded import differing
from cqlbench.experiments.suite import IncompleteSuiteError, make_runs
from cqlbench.records.provenance import Provenance, git_state, now
from cqlbench.records.schema import UNCOMMITTED, Record, RecordError
from cqlbench.records.store import safe_name
from cqlbench.reporting.gate import tables
from cqlbench.reporting.gate.baseline import Baseline, read_baseline, write_baseline
from cqlbench.reporting.gate.baseline import accept as baseline_of
from cqlbench.reporting.gate.scores import Limits
from cqlbench.reporting.gate.verdict import judge
from cqlbench.reporting.report import Selection
from cqlbench.reporting.tables import render

_FILES = ("gate.md", "gate.xml")
_SELECT: Selection = "mean10"
"""What a new baseline is made of: single evaluations scatter more than a regression is large."""


def gate(
    console: Console,
    suite: str | None,
    baseline: Path | None,
    accept: bool,
    run: bool,
    select: Selection | None,
    margin: float,
    level: float,
    throughput: float,
    false_alarms: float,
    output: Path | None,
    settings: Sequence[str],
) -> int:
    """Run a suite where this checkout has not, and compare it with its baseline or accept it as one.

    The arguments are the keys that `cqlbench gate --help` explains; `settings` those of `bench`.

    Returns:
        0: no change, or accepted. 1: a regression, or the algorithm changed. 2: it cannot be said.
        70: a dataset's run crashed, whatever the others say.

    Raises:
        UserError: a mistake in the settings, no baseline, uncommitted code whose runs would be accepted, or
            files that cannot be read or written.
    """
    if baseline and not suite:
        suite = read_baseline(baseline).suite
    chosen = suite_of(suite, settings)
    name, results = safe_name(chosen.name), Path(value_of(settings, "results", "results"))
    path = baseline or results / "baselines" / f"{name}.json"
    output = output or results / "report" / f"gate-{name}"
    if accept and git_state().dirty:
        raise RecordError(f"A baseline cannot be accepted from {UNCOMMITTED}; commit them first.")
    accepted = None
    if not accept or path.exists():  # what a new baseline replaces is an old one of the same suite
        accepted = _baseline(path, chosen.name, None if accept else select)
    if not accept:
        outputs.check_folder(output, _FILES, "gate", "output")
    if not value_of(settings, "resume", ""):
        settings = ["resume=never", *settings]  # what was cut off may be of the code before
    runs = make_runs(chosen, settings, console, _made_here if run else lambda *_: True, run)
    crashed = any(each.crashed for each in runs)
    if accept or accepted is None:
        if crashed:
            raise IncompleteSuiteError(chosen.name, runs)
        write_baseline(path, baseline_of(chosen.name, select or _SELECT, runs, now()))
        console.print(Text(f"Accepted {path}"), soft_wrap=True)
        return 0
    found = judge(accepted, runs, Limits(margin, level, throughput, false_alarms))
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


def _baseline(path: Path, suite: str, select: Selection | None) -> Baseline:
    baseline = read_baseline(path)
    if baseline.suite != suite:
        raise RecordError(f"Baseline '{path}' is of the suite {baseline.suite}, not {suite}.")
    if select not in (None, baseline.selection):
        raise ConfigError(f"select={select} differs from the baseline's, {baseline.selection}; leave it out.")
    return baseline
