"""`cqlbench paper`: a suite's runs, made, resumed or found recorded, and the report of exactly those."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from cqlbench.commands.arguments import truth
from cqlbench.commands.report import selection
from cqlbench.core.errors import ConfigError
from cqlbench.experiments.compose import word
from cqlbench.experiments.run import status_of
from cqlbench.experiments.suite import IncompleteSuiteError, Suite, make_runs, read_suite, suite_names
from cqlbench.records.store import safe_name
from cqlbench.reporting.publish import publish


def paper(words: Sequence[str], console: Console) -> int:
    """Run a suite and report it into the results folder's `report/<suite>`.

    Args:
        words: `suite=`, `select=`, `plots=`, and any of `bench` but `dataset=` and `source=`.
        console: where everything is printed.

    Returns:
        Exit status: 1 where a seed failed.

    Raises:
        IncompleteSuiteError: a dataset could not be run; the others were, and are reported.
        UserError: a mistake in the words, or runs that must not meet in one table.
    """
    suite, rest = suite_of(words, ("select", "plots"))
    chosen, plots = (
        selection(word(words, "select", "last")),
        truth({"plots": word(words, "plots", "true")}, "plots"),
    )
    runs = make_runs(suite, rest, console)
    records = [record for run in runs for record in run.records]
    if records:
        output = Path(word(words, "results", "results")) / "report" / safe_name(suite.name)
        publish(records, chosen, plots, output, console, key="results")
    if any(run.problem for run in runs):
        raise IncompleteSuiteError(suite.name, runs)
    return status_of(records)


def suite_of(words: Sequence[str], keys: Sequence[str]) -> tuple[Suite, list[str]]:
    """The suite that is named, and the words that are left for its runs.

    Args:
        words: of the command line.
        keys: the command's own, which its runs do not take.

    Raises:
        ConfigError: no suite is named, there is none of that name, or the suite decides what a word sets.
    """
    decided = [each for each in words if each.startswith(("dataset=", "source="))]
    if decided:
        raise ConfigError(f"'{decided[0]}' cannot be set: the suite names its datasets.")
    name = word(words, "suite", "")
    if not name:
        raise ConfigError(f"No suite was named; say suite=NAME, of {', '.join(suite_names())}.")
    own = tuple(f"{key}=" for key in ("suite", *keys))
    return read_suite(name), [each for each in words if not each.startswith(own)]
