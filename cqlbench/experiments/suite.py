"""Suites of datasets and algorithms: read from `benchmarks/suite`, and run or looked up, one by one."""

import itertools
import pickle
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import msgspec
from rich.console import Console
from rich.text import Text

from cqlbench.core.devices import device_facts
from cqlbench.core.errors import BUG, USER_ERROR, ConfigError, UserError, out_of_memory
from cqlbench.core.paths import benchmarks_dir, yaml_names
from cqlbench.data.cards import all_cards
from cqlbench.experiments.compose import default_algorithm, value_of
from cqlbench.experiments.key_names import algorithms_named, group_choices, read_choice
from cqlbench.experiments.launchers.launch import Fate, Work
from cqlbench.experiments.launchers.settings import LauncherSettings
from cqlbench.experiments.launchers.work import Job, device_for, work_of
from cqlbench.experiments.plan import Plan, make_plan
from cqlbench.experiments.recorded import without_dataset
from cqlbench.experiments.run import bench
from cqlbench.records import provenance
from cqlbench.records.provenance import Provenance
from cqlbench.records.schema import Record
from cqlbench.records.store import RecordStore
from cqlbench.reporting.gate.baseline import SuiteRun, names_of

Usable = Callable[[Record, Provenance], bool]
"""Whether a record stands for its seed in this process."""
Plans = dict[tuple[str, str], Plan | UserError]
"""The plan of each run, by dataset and algorithm, or why there is none."""


class IncompleteSuiteError(UserError):
    """A suite of which some runs could not be made."""

    def __init__(self, suite: str, runs: Sequence[SuiteRun]) -> None:
        failed = {name: run for name, run in zip(names_of(runs), runs, strict=True) if run.problem}
        problems = " ".join(f"{name}: {run.problem}" for name, run in failed.items())
        super().__init__(f"{len(failed)} of {len(runs)} runs of {suite} failed. {problems}")
        self.status = BUG if any(run.crashed for run in failed.values()) else USER_ERROR


_Text = Annotated[str, msgspec.Meta(min_length=1)]


class Suite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of `benchmarks/suite`.

    Attributes:
        name: the file's name.
        budget: the budget where none is named.
        datasets: full ids.
        algorithms: files of `benchmarks/algorithm`, where none is named; by default, that of `bench`.
    """

    name: str
    title: _Text
    budget: _Text
    datasets: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    algorithms: tuple[str, ...] = ()


def suite_names() -> list[str]:
    """Every suite's name."""
    return yaml_names(benchmarks_dir() / "suite")


def read_suite(name: str) -> Suite:
    """One suite.

    Raises:
        ConfigError: there is none of that name, or its file says anything but a `Suite`.
    """
    suite = read_choice(benchmarks_dir() / "suite", name, Suite, "name")
    listed, algorithms = (*suite.datasets, *suite.algorithms), group_choices("algorithm")
    problems = {
        "which is the full id of no dataset card": [
            each for each in suite.datasets if each not in all_cards()
        ],
        f"which is no algorithm of {', '.join(algorithms)}": [
            each for each in suite.algorithms if each not in algorithms
        ],
        "and that twice": [each for each in listed if listed.count(each) > 1],
    }
    for problem, names in problems.items():
        if names:
            raise ConfigError(f"Suite {name} lists '{names[0]}', {problem}.")
    return suite


def make_runs(
    suite: Suite,
    arguments: Sequence[str],
    console: Console,
    usable: Usable = lambda _record, _origin: True,
    train: bool = True,
) -> list[SuiteRun]:
    """Each algorithm's run on each dataset: as recorded, resumed, or made now; a failure stops no other run.

    Args:
        suite: whose datasets.
        arguments: those of `bench`, but for the dataset; `algorithm=` may name several, or `all`.
        console: where the progress is printed.
        usable: which records stand for a seed, of those of the same dataset and configuration.
        train: whether what is not recorded is made.

    Raises:
        ConfigError: an argument that makes no sense for any of the runs; none is made then.
    """
    runs, plans = [], _plans(suite, arguments)
    several = len({algorithm for _, algorithm in plans}) > 1
    for number, ((dataset, algorithm), plan) in enumerate(plans.items(), 1):
        which = f"{dataset}, {algorithm}" if several else dataset
        console.print(Text(f"Suite    {suite.name}, {number} of {len(plans)}: {which}"), soft_wrap=True)
        if isinstance(plan, UserError):
            runs.append(SuiteRun(dataset, (), (), str(plan), algorithm=algorithm))
        else:
            runs.append(_run(dataset, plan, console, usable, train))
        if runs[-1].problem:
            console.print(Text(f"Failed   {runs[-1].problem}"), soft_wrap=True)
    return runs


def suite_work(suite: Suite, arguments: Sequence[str], launcher: LauncherSettings) -> Work:
    """What a launcher is to run of a suite; arguments and errors as of `make_runs`."""
    plans = _plans(suite, arguments, launcher)
    jobs = [
        Job(f"{dataset}, {algorithm}", "bench", _words(suite, dataset, algorithm, arguments), plan)
        for (dataset, algorithm), plan in plans.items()
        if isinstance(plan, Plan)
    ]
    return work_of(jobs, launcher, suite.name, _stands, plans)


def launched_runs(plans: bytes, fates: Sequence[Fate]) -> list[SuiteRun]:
    """The runs of `suite_work`, as recorded, once a launcher has ended: of its plans, and its jobs' fates."""
    runs, left = [], iter(fates)
    planned: Plans = pickle.loads(plans)  # noqa: S301 (this command's own)
    for (dataset, algorithm), plan in planned.items():
        if isinstance(plan, UserError):
            runs.append(SuiteRun(dataset, (), (), str(plan), algorithm=algorithm))
            continue
        run, fate = _run(dataset, plan, Console(quiet=True), lambda *_: True, train=False), next(left)
        runs.append(replace(run, problem=fate.problem or run.problem, crashed=fate.crashed or run.crashed))
    return runs


def _plans(suite: Suite, arguments: Sequence[str], launcher: LauncherSettings | None = None) -> Plans:
    named = value_of(arguments, "algorithm", "")
    algorithms = algorithms_named(named) if named else suite.algorithms or (default_algorithm(),)
    if len(algorithms) > 1 and value_of(arguments, "algorithm.name", ""):
        raise ConfigError(f"algorithm.name is one algorithm's, and these are {', '.join(algorithms)}.")
    plans: Plans = {}
    device = device_for(launcher, arguments) if launcher else None
    for dataset, algorithm in itertools.product(suite.datasets, algorithms):
        try:
            plans[dataset, algorithm] = make_plan(_words(suite, dataset, algorithm, arguments), device=device)
        except ConfigError:
            raise
        except UserError as error:
            plans[dataset, algorithm] = error
    return plans


def _words(suite: Suite, dataset: str, algorithm: str, arguments: Sequence[str]) -> tuple[str, ...]:
    """The arguments of `bench` for one run."""
    budget = () if value_of(arguments, "budget", "") else (f"budget={suite.budget}",)
    others = [each for each in arguments if not each.startswith("algorithm=")]
    return (f"dataset={dataset}", f"algorithm={algorithm}", *budget, *others)


def _stands(record: Record) -> bool:
    """One that diverged would diverge again."""
    return record.status != "skipped"


def _run(dataset: str, plan: Plan, console: Console, usable: Usable, train: bool) -> SuiteRun:
    seeds, problem, crashed = tuple(plan.config.seeds), "", False
    recorded: Mapping[int, Record] = {}
    origin = provenance.collect(*device_facts(str(plan.device)), plan.arguments)

    def stands(record: Record) -> bool:
        return _stands(record) and usable(record, origin)

    try:
        if train:
            recorded = {record.seed: record for record in bench(plan, console, stands)}
        else:
            known = without_dataset(plan, origin, RecordStore(Path(plan.config.results)), stands)
            known.show(console)
            recorded = known.records
    except UserError as error:
        problem = str(error)
    except Exception as error:  # noqa: BLE001
        # A bug or a full memory on one dataset must not cost the night's others; it is shown in full.
        traceback.print_exc(file=sys.stderr)
        problem = f"{type(error).__name__}: {' '.join(str(error).split())}"
        crashed = not out_of_memory(error)
    records = tuple(recorded[seed] for seed in seeds if seed in recorded)
    return SuiteRun(dataset, seeds, records, problem, crashed, plan.config.algorithm.name)
