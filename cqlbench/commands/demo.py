"""`cqlbench demo`: from no data to a report in a minute or two, and what to try next."""

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import yaml
from rich.console import Console
from rich.text import Text

from cqlbench.core.paths import benchmarks_dir
from cqlbench.core.text import duration
from cqlbench.experiments.compose import value_of
from cqlbench.experiments.run import status_of
from cqlbench.experiments.suite import IncompleteSuiteError, Suite, make_runs
from cqlbench.records.schema import Record
from cqlbench.records.store import run_folder
from cqlbench.reporting.publish import publish


class _Demo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file `benchmarks/demo.yaml`: a suite, and settings of its runs."""

    title: str
    budget: str
    datasets: tuple[str, ...]
    algorithms: tuple[str, ...]
    settings: tuple[str, ...]


def demo(console: Console, settings: Sequence[str]) -> int:
    """Run a small suite, report it, and say what to read next; status 1 where a seed failed.

    Raises:
        IncompleteSuiteError: a run could not be made.
        UserError: a mistake in the settings.
    """
    began = time.monotonic()
    text = (benchmarks_dir() / "demo.yaml").read_text(encoding="utf-8")
    chosen = msgspec.convert(yaml.safe_load(text), _Demo)
    suite = Suite("demo", chosen.title, chosen.budget, chosen.datasets, chosen.algorithms)
    console.print(Text(f"Demo     {suite.title}"))
    runs = make_runs(suite, [*chosen.settings, *settings], console)
    if any(run.problem for run in runs):
        raise IncompleteSuiteError(suite.name, runs)
    records = [record for run in runs for record in run.records]
    results = Path(value_of(settings, "results", "results"))
    output = results / "report" / suite.name
    publish(records, "last", True, output, console, key="results")
    console.print(Text(_next(records, results, output, time.monotonic() - began)), soft_wrap=True)
    return status_of(records)


def _next(records: Sequence[Record], results: Path, output: Path, seconds: float) -> str:
    """What to look at and to try, after the last run."""
    run = run_folder(records[-1].key)
    name = run.rpartition("/")[2]
    where = "" if results == Path("results") else f" results={results}"
    return "\n".join(
        (
            "",
            f"That took {duration(seconds)}. The scores are a toy's: see how sure they are, not how high.",
            f"Look at   {output / 'report.html'} in a browser: tables, intervals, curves, provenance",
            f"Look at   {results / 'runs' / run}: one JSON record per seed",
            f"Try       cqlbench watch run={name} video=policy.gif{where} (with cqlbench[video])",
            "Try       cqlbench bench dataset=hopper-medium, and cqlbench data list for other datasets",
            "Read      the documentation's 'Budgets, and what may be compared' before you quote a number",
        )
    )
