"""`cqlbench paper`: a suite's runs, made, resumed or found recorded, and the report of exactly those."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from cqlbench.core.errors import ConfigError
from cqlbench.experiments.compose import value_of
from cqlbench.experiments.launchers.settings import split
from cqlbench.experiments.run import status_of
from cqlbench.experiments.suite import IncompleteSuiteError, Suite, make_runs, read_suite, suite_names
from cqlbench.records.store import safe_name
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
    settings, launcher = split(settings)
    runs = make_runs(chosen, settings, console, launcher=launcher)
    records = [record for run in runs for record in run.records]
    if records:
        output = Path(value_of(settings, "results", "results")) / "report" / safe_name(chosen.name)
        publish(records, select, plots, output, console, key="results", bold=bold)
    if any(run.problem for run in runs):
        raise IncompleteSuiteError(chosen.name, runs)
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
