"""`cqlbench paper`: a suite's runs, made, resumed or found recorded, and the report of exactly those."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from cqlbench.core.errors import ConfigError
from cqlbench.experiments.compose import value_of
from cqlbench.experiments.launchers.launch import Fate, Work
from cqlbench.experiments.launchers.settings import LauncherSettings
from cqlbench.experiments.run import status_of
from cqlbench.experiments.suite import (
    IncompleteSuiteError,
    Suite,
    launched_runs,
    make_runs,
    read_suite,
    suite_names,
    suite_work,
)
from cqlbench.records.store import safe_name
from cqlbench.reporting.gate.baseline import SuiteRun
from cqlbench.reporting.publish import publish
from cqlbench.reporting.report import Bold, Selection


def paper(
    console: Console, suite: str | None, select: Selection, bold: Bold, plots: bool, settings: Sequence[str]
) -> int:
    """Run a suite and report it into the results folder's `report/<suite>`; status 1 where a seed failed.

    Raises:
        IncompleteSuiteError: a dataset could not be run; the others were, and are reported.
        UserError: a mistake in the settings, or runs that must not meet in one table.
    """
    chosen = suite_of(suite, settings)
    return _report(console, chosen, make_runs(chosen, settings, console), select, bold, plots, settings)


def work(settings: Sequence[str], launcher: LauncherSettings, keys: Mapping[str, Any]) -> Work:
    """What a launcher is to run; `keys`: the arguments of `paper`."""
    return suite_work(suite_of(keys["suite"], settings), settings, launcher)


def conclude(
    console: Console, settings: Sequence[str], keys: Mapping[str, Any], fates: Sequence[Fate], plans: bytes
) -> int:
    """Report as `paper` does, once a launcher has run what `work` said; `plans`: of the work."""
    others = dict(keys)
    chosen = suite_of(others.pop("suite"), settings)
    return _report(console, chosen, launched_runs(plans, fates), **others, settings=settings)


def _report(
    console: Console,
    suite: Suite,
    runs: Sequence[SuiteRun],
    select: Selection,
    bold: Bold,
    plots: bool,
    settings: Sequence[str],
) -> int:
    records = [record for run in runs for record in run.records]
    if records:
        output = Path(value_of(settings, "results", "results")) / "report" / safe_name(suite.name)
        publish(records, select, plots, output, console, key="results", bold=bold)
    if any(run.problem for run in runs):
        raise IncompleteSuiteError(suite.name, runs)
    return status_of(records)


def suite_of(name: str | None, settings: Sequence[str]) -> Suite:
    """The suite of that name, for runs of these settings.

    Raises:
        ConfigError: none is named, there is none of that name, or the suite decides what a setting sets.
    """
    decided = [each for each in settings if each.startswith(("dataset=", "source="))]
    if decided:
        raise ConfigError(f"'{decided[0]}' cannot be set: the suite names its datasets.")
    if not name:
        raise ConfigError(f"No suite was named; say suite=NAME (choose from {', '.join(suite_names())}).")
    return read_suite(name)
