"""cqlbench from Python: what a notebook needs, in a few names, which `cqlbench` exports.

run = cqlbench.run("hopper-medium", algorithm="cql", seeds=3, budget="smoke")
run.scores                      # [S], normalised, of the last evaluation
run.frame                       # pandas: a row per seed
run.figure().savefig("curve.png")
actions = run.policy(seed=0)(observations)   # torch, [B, O] -> [B, A]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console

from cqlbench.algorithms import ALGORITHMS
from cqlbench.algorithms.algorithm import AlgorithmConfig
from cqlbench.core.progress import progress_wanted
from cqlbench.data.buffer import Dataset
from cqlbench.data.cards import all_cards
from cqlbench.data.load import provide
from cqlbench.data.resolve import resolve
from cqlbench.experiments.launchers.launch import launch
from cqlbench.experiments.launchers.settings import split
from cqlbench.experiments.plan import make_plan
from cqlbench.experiments.policy_module import Policy, SequencePolicy, module_of
from cqlbench.experiments.run import bench
from cqlbench.experiments.suite import (
    IncompleteSuiteError,
    launched_runs,
    make_runs,
    read_suite,
    suite_work,
)
from cqlbench.experiments.sweep import argument_text
from cqlbench.records.find import find_policy
from cqlbench.records.frame import evaluations_frame, seeds_frame
from cqlbench.records.policy import SavedPolicy
from cqlbench.records.schema import Record
from cqlbench.records.seed_result import seed_result
from cqlbench.records.store import run_folder
from cqlbench.reporting.aggregate import summarise
from cqlbench.reporting.plots.run import curve_figure


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """The seeds of one run, as recorded.

    Attributes:
        records: one per seed: every evaluation's returns, settings, versions.
        results: the folder that they lie in.
    """

    records: tuple[Record, ...]
    results: Path

    def __repr__(self) -> str:
        seeds = [record.seed for record in self.records]
        return f"<Run {self.name}, seeds {seeds}, scores {self.scores.round(1).tolist()}>"

    @property
    def name(self) -> str:
        """`<dataset id>/<algorithm>/<budget>-<config hash>`, as the commands print it."""
        return run_folder(self.records[0].key)

    @property
    def scores(self) -> NDArray[np.float64]:
        """`[S]` normalised scores (0 to 100) of the last evaluation; NaN where there is none."""
        lasts = [seed_result(record).last for record in self.records]
        return np.array([np.nan if last is None else last for last in lasts])

    @property
    def frame(self) -> pd.DataFrame:
        """A row per seed: see `cqlbench.records.frame`."""
        return seeds_frame(self.records)

    @property
    def curves(self) -> pd.DataFrame:
        """A row per evaluation of each seed: see `cqlbench.records.frame`."""
        return evaluations_frame(self.records)

    def policy(self, seed: int | None = None) -> Policy | SequencePolicy:
        """The final policy of `seed`, the first one's by default: see `load_policy`."""
        return load_policy(self.name, seed, self.results)

    def figure(self) -> Figure:
        """The learning curve.

        Raises:
            ConfigError: no seed finished.
        """
        return curve_figure(summarise(self.records))


def run(
    dataset: str,
    *,
    algorithm: str | None = None,
    seeds: int | Sequence[int] | None = None,
    budget: str | None = None,
    results: str | Path = "results",
    verbose: bool | None = None,
    **settings: Any,
) -> Run:
    """Train, evaluate and record; what is recorded already is read, and what was interrupted is resumed.

    Args:
        dataset: a dataset id, a short name (`hopper-medium`), or the path of an HDF5 file or Minari folder.
        algorithm: one of `list_algorithms()`; `None` takes CQL.
        seeds: how many (3: seeds 0, 1, 2), or which; `None` takes the budget's.
        budget: `smoke`, `quick` or `paper`; `None` takes `paper` on a GPU, `quick` on a CPU.
        results: the folder for records and policies.
        verbose: print what the command prints; `None`: its progress alone; `False`: nothing.
        settings: any other setting of the command line, such as `steps=1000`, or with dots in the name
            `**{"algorithm.batch_size": 64}`. Fine-tuning: `online="quick"`.

    Raises:
        UserError: the sentence says what to put right.
    """
    named = {"dataset": dataset, "algorithm": algorithm, "seeds": seeds, "budget": budget, "results": results}
    words = [f"{key}={argument_text(value)}" for key, value in named.items() if value is not None]
    plan = make_plan([*words, *(f"{key}={argument_text(value)}" for key, value in settings.items())])
    with progress_wanted(verbose is not False):
        records = bench(plan, _console(verbose))
    return Run(tuple(records), Path(results))


def run_suite(
    suite: str,
    *,
    algorithm: str | Sequence[str] | None = None,
    seeds: int | Sequence[int] | None = None,
    budget: str | None = None,
    results: str | Path = "results",
    launcher: str | None = None,
    verbose: bool | None = None,
    **settings: Any,
) -> list[Run]:
    """Make, resume or read every run of a suite, in its order.

    Args:
        suite: a file of `benchmarks/suite`.
        algorithm: one or several, or `all`; `None` takes the suite's.
        seeds: as of `run`.
        budget: as of `run`; `None` takes the suite's.
        results: the folder for records and policies.
        launcher: `local` or `ray` makes the runs in processes of their own, as `**{"launcher.<key>": …}`
            says; `None`: this process makes them, one by one.
        verbose: print what the command prints; `None`: its progress alone; `False`: nothing.
        settings: as of `run`.

    Returns:
        The runs; none where `launcher.dry_run` is true.

    Raises:
        IncompleteSuiteError: some runs could not be made; the others are recorded.
        UserError: a mistake in the settings; nothing has run then.
    """
    algorithms = algorithm if isinstance(algorithm, str | None) else ",".join(algorithm)
    named = {"algorithm": algorithms, "seeds": seeds, "budget": budget, "results": results}
    named |= {"launcher": launcher} | settings
    words, where = split(
        [f"{key}={argument_text(value)}" for key, value in named.items() if value is not None]
    )
    console, chosen = _console(verbose), read_suite(suite)
    with progress_wanted(verbose is not False):
        if where is None:
            runs = make_runs(chosen, words, console)
        else:
            work = suite_work(chosen, words, where)
            fates = launch(work, where, console)
            runs = [] if where.dry_run else launched_runs(work.plans, fates)
    if any(each.problem for each in runs):
        raise IncompleteSuiteError(suite, runs)
    return [Run(each.records, Path(results)) for each in runs]


def _console(verbose: bool | None) -> Console:
    return Console(quiet=not verbose, soft_wrap=True, highlight=False)


def load_policy(
    run: str, seed: int | None = None, results: str | Path = "results"
) -> Policy | SequencePolicy:
    """The final policy of a recorded run: a torch module, raw observations `[B, O]` -> actions `[B, A]`.

    A decision transformer's takes the last time steps instead: see `SequencePolicy.forward`.

    Args:
        run: its name as printed, or the end of it (`quick-1f2e3d4c5b6a`).
        seed: whose; the first one's by default.
        results: the folder that it lies in.

    Raises:
        RecordError: there is no such run, or no policy of that seed.
    """
    return module_of(SavedPolicy.load(find_policy(Path(results), run, seed)))


def load_dataset(name: str, source: str = "auto") -> Dataset:
    """A dataset ready for training; it is downloaded, read or made if there is no buffer of it.

    Args:
        name: as `run` takes it.
        source: where a short name is looked up: `auto`, `d4rl`, `minari` or `embedded`.

    Raises:
        DatasetError: there is none, or it cannot be had here.
    """
    return provide(resolve(name, source))


def list_datasets() -> pd.DataFrame:
    """A row per known dataset, by its id: source, family, environment, rows, episodes, mean return."""
    rows = {
        card.id: {
            "source": card.source,
            "family": card.family,
            "environment": card.environment.id if card.environment else None,
            "rows": card.rows,
            "episodes": card.episodes,
            "mean_return": card.mean_return,
        }
        for card in all_cards().values()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("id")


def list_algorithms() -> dict[str, type[AlgorithmConfig]]:
    """Name to settings, whose documentation says what each of them means."""
    return {name: settings for name, (settings, _) in ALGORITHMS.items()}
