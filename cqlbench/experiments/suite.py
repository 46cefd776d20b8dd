"""Suites of datasets: read from `benchmarks/suite`, and run or found recorded, dataset by dataset."""

import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.text import Text

from cqlbench.core.devices import device_facts
from cqlbench.core.errors import BUG, USER_ERROR, ConfigError, UserError, out_of_memory
from cqlbench.core.paths import benchmarks_dir, yaml_names
from cqlbench.data.cards import all_cards
from cqlbench.experiments.compose import word
from cqlbench.experiments.plan import Plan, make_plan
from cqlbench.experiments.recorded import without_dataset
from cqlbench.experiments.run import bench
from cqlbench.records import provenance
from cqlbench.records.provenance import Provenance
from cqlbench.records.schema import Record
from cqlbench.records.store import RecordStore
from cqlbench.reporting.gate.baseline import SuiteRun

Usable = Callable[[Record, Provenance], bool]
"""Whether a record stands for its seed in this process."""


class IncompleteSuiteError(UserError):
    """A suite of which some datasets could not be run."""

    def __init__(self, suite: str, runs: Sequence[SuiteRun]) -> None:
        failed = [run for run in runs if run.problem]
        said = " ".join(f"{run.dataset}: {run.problem}" for run in failed)
        super().__init__(f"{len(failed)} of {len(runs)} datasets of {suite} failed. {said}")
        self.status = BUG if any(run.crashed for run in failed) else USER_ERROR


@dataclass(frozen=True)
class Suite:
    """A file of `benchmarks/suite`.

    Attributes:
        name: the file's name.
        title: what it is, for people.
        budget: the budget where none is named.
        datasets: full ids.
    """

    name: str
    title: str
    budget: str
    datasets: tuple[str, ...]


def suite_names() -> list[str]:
    """Every suite's name."""
    return yaml_names(benchmarks_dir() / "suite")


def read_suite(name: str) -> Suite:
    """One suite.

    Raises:
        ConfigError: there is none of that name, or its file is not exactly a title, a budget and full ids.
    """
    if name not in suite_names():
        raise ConfigError(f"There is no suite '{name}'; there is {', '.join(suite_names())}.")
    path = benchmarks_dir() / "suite" / f"{name}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"Suite '{path}' cannot be read: {' '.join(str(error).split())}.") from error
    problem = _problem(content)
    if problem:
        raise ConfigError(f"Suite '{path}' {problem}.")
    return Suite(name, content["title"], content["budget"], tuple(content["datasets"]))


def make_runs(
    suite: Suite,
    words: Sequence[str],
    console: Console,
    usable: Usable = lambda _record, _origin: True,
    train: bool = True,
) -> list[SuiteRun]:
    """Every dataset's run: as recorded, resumed, or made now; one that fails does not stop the rest.

    Args:
        suite: whose datasets.
        words: `key=value` words of `bench`, but for the dataset.
        console: where the runs are told.
        usable: which records stand for a seed, of those of the same dataset and configuration.
        train: whether what is not recorded is made.

    Raises:
        ConfigError: a word that makes no sense, for whatever dataset.
    """
    if not word(words, "budget", ""):
        words = [f"budget={suite.budget}", *words]
    plans: dict[str, Plan | UserError] = {}
    for dataset in suite.datasets:
        try:
            plans[dataset] = make_plan([f"dataset={dataset}", *words])
        except ConfigError:
            raise
        except UserError as error:
            plans[dataset] = error
    runs = []
    for number, (dataset, plan) in enumerate(plans.items(), 1):
        console.print(Text(f"Suite    {suite.name}, {number} of {len(plans)}: {dataset}"), soft_wrap=True)
        if isinstance(plan, UserError):
            runs.append(SuiteRun(dataset, (), (), str(plan)))
        else:
            runs.append(_run(dataset, plan, console, usable, train))
        if runs[-1].problem:
            console.print(Text(f"Failed   {runs[-1].problem}"), soft_wrap=True)
    return runs


def _run(
    dataset: str,
    plan: Plan,
    console: Console,
    usable: Usable,
    train: bool,
) -> SuiteRun:
    seeds, problem, crashed = tuple(plan.config.seeds), "", False
    found: Mapping[int, Record] = {}
    origin = provenance.collect(*device_facts(str(plan.device)), plan.arguments)

    def stands(record: Record) -> bool:
        return record.status != "skipped" and usable(record, origin)  # one that diverged would diverge again

    try:
        if train:
            found = {record.seed: record for record in bench(plan, console, stands)}
        else:
            known = without_dataset(plan, origin, RecordStore(Path(plan.config.results)), stands)
            known.tell(console)
            found = known.records
    except UserError as error:
        problem = str(error)
    except Exception as error:  # noqa: BLE001
        # A bug or a full memory on one dataset must not cost the night's others; it is shown in full.
        traceback.print_exc(file=sys.stderr)
        problem = f"{type(error).__name__}: {' '.join(str(error).split())}"
        crashed = not out_of_memory(error)
    records = tuple(found[seed] for seed in seeds if seed in found)
    return SuiteRun(dataset, seeds, records, problem, crashed)


def _problem(content: Any) -> str:
    """What is wrong with a suite's file; ends a sentence."""
    keys = [field.name for field in fields(Suite) if field.name != "name"]
    if not isinstance(content, dict) or sorted(content) != sorted(keys):
        return f"must have exactly the keys {', '.join(keys)}"
    if not all(isinstance(content[key], str) and content[key] for key in ("title", "budget")):
        return "must have texts for title and budget"
    datasets = content["datasets"]
    if not isinstance(datasets, list) or not datasets:
        return "lists no datasets"
    cards = all_cards()
    unknown = [each for each in datasets if not (isinstance(each, str) and each in cards)]
    if unknown:
        return f"lists '{unknown[0]}', which is the full id of no dataset card"
    twice = [each for each in datasets if datasets.count(each) > 1]
    return f"lists {twice[0]} twice" if twice else ""
