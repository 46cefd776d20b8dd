"""Runs -> units on a launcher, followed to their end; what is recorded already is not run again."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.text import Text

from cqlbench.core.devices import device_facts
from cqlbench.core.errors import ConfigError
from cqlbench.core.lease import EXPIRY, LeaseHeldError, held
from cqlbench.experiments.compose import value_of
from cqlbench.experiments.launchers.board import Board
from cqlbench.experiments.launchers.launcher import Launcher, connect
from cqlbench.experiments.launchers.packing import Packing
from cqlbench.experiments.launchers.settings import LauncherSettings
from cqlbench.experiments.launchers.unit import Outcome, Surroundings, Unit
from cqlbench.experiments.plan import Plan
from cqlbench.experiments.recorded import Stands, without_dataset
from cqlbench.records import provenance
from cqlbench.records.schema import Record
from cqlbench.records.store import RecordStore

_SECOND = 1.0
_DECIDED = ("seeds", "results", "device")
_COMMAND = ("-m", "cqlbench")


@dataclass(frozen=True)
class Job:
    """One run of a suite or sweep.

    Attributes:
        name: for people.
        verb: of the command that makes it.
        words: its arguments.
        plan: what they mean.
    """

    name: str
    verb: str
    words: tuple[str, ...]
    plan: Plan


@dataclass(frozen=True)
class Fate:
    """What became of a job.

    Attributes:
        outcomes: of those of its units that were run.
    """

    outcomes: tuple[Outcome, ...] = ()

    @property
    def problem(self) -> str:
        """Why it is not whole, a sentence for each unit that failed; empty if it is."""
        return " ".join(dict.fromkeys(each.message for each in self.outcomes if each.message))

    @property
    def crashed(self) -> bool:
        """Whether an error of our own did that."""
        return any(each.crashed for each in self.outcomes)


def device_for(settings: LauncherSettings, words: Sequence[str]) -> torch.device | None:
    """Where units train, for `make_plan`; `None`: as this machine would.

    Raises:
        ConfigError: a device is named that the engine chooses.
    """
    if settings.device == "auto":
        return None
    named = value_of(words, "device", settings.device)
    if named not in ("cpu", "cuda", "auto"):
        raise ConfigError(f"device={named} cannot be set: launcher={settings.name} chooses; say cpu or cuda.")
    return torch.device(settings.device if named == "auto" else named)


def launch(
    jobs: Sequence[Job], settings: LauncherSettings, title: str, console: Console, stands: Stands
) -> list[Fate]:
    """Run what is not recorded of each job; what fails stops nothing else.

    Args:
        jobs: all of the same results folder.
        settings: of the launcher.
        title: of the suite or sweep: its folder below `<results>/suites`.
        console: where the plan and the progress go.
        stands: which records stand for their seeds.

    Returns:
        What became of each job, as they are ordered.

    Raises:
        ConfigError: the engine cannot be used as asked for; nothing has run then. Or another process runs
            this suite.
    """
    results = Path(jobs[0].plan.config.results).absolute()
    folder = results / "suites" / title
    parts = [(job, plan) for job in jobs for plan in _parts(job, settings, stands)]
    units = [_unit(number, *part, settings) for number, part in enumerate(parts, 1)]
    plans = {number: plan for number, (_, plan) in enumerate(parts, 1)}
    outcomes: Mapping[int, Outcome] = {}
    if not units:
        console.print(Text(f"Plan     nothing to run: all of {title} is recorded"), soft_wrap=True)
    else:
        what = f"the suite in '{folder}'"
        try:
            with held(folder / ".lease", what, patience=0), closing(connect(settings, results)) as launcher:
                packing = Packing.of(units, plans, launcher.where, launcher.slots)
                packing.show(console)
                if not settings.dry_run:
                    board = Board(folder, title, packing, console)
                    outcomes = _follow(launcher, units, _surroundings(settings, folder), board)
        except LeaseHeldError as error:
            raise ConfigError(f"{error} 'cqlbench status' shows how far it is.") from error
    return [
        Fate(tuple(outcome for number, outcome in sorted(outcomes.items()) if parts[number - 1][0] is job))
        for job in jobs
    ]


def _parts(job: Job, settings: LauncherSettings, stands: Stands) -> Iterator[Plan]:
    """The parts of a job that are to be run.

    How seeds are divided depends on nothing else, so that what was cut off is found again.

    Raises:
        ConfigError: seeds would be divided of which a trainer of the whole batch is asked for.
    """
    config = job.plan.config
    at_once = settings.seeds_per_run or len(config.seeds)
    if at_once < len(config.seeds) and (config.trainer.save_trainer_file or config.online.start):
        raise ConfigError(
            f"launcher.seeds_per_run={at_once} divides the seeds of a trainer that is one: leave it out."
        )
    done = {} if config.rerun else _recorded(job.plan, stands)
    for start in range(0, len(config.seeds), at_once):
        seeds = config.seeds[start : start + at_once]
        if not all(seed in done for seed in seeds):
            yield job.plan.with_seeds(seeds)


def _unit(number: int, job: Job, plan: Plan, settings: LauncherSettings) -> Unit:
    words = [word for word in job.words if word.partition("=")[0] not in _DECIDED]
    seeds, device = plan.config.seeds, plan.device
    decided = (
        f"seeds=[{','.join(map(str, seeds))}]",
        f"results={Path(plan.config.results).absolute()}",
        f"device={device if settings.device == 'auto' else device.type}",
    )
    return Unit(number, f"{job.name}, seeds {_ranges(seeds)}", (*_COMMAND, job.verb, *words, *decided))


def _recorded(plan: Plan, stands: Stands) -> Mapping[int, Record]:
    """The records of seeds whose run is complete, by seed; none of a file's, whose content is not known here.

    A run that was killed after its last record has left its checkpoints: it is completed by being run again.
    """
    if plan.resolution.card.source == "path":
        return {}
    store = RecordStore(Path(plan.config.results))
    origin = provenance.collect(*device_facts(str(plan.device)), plan.arguments)
    records = without_dataset(plan, origin, store, stands).records
    left = {
        int(seed)
        for record in list(records.values())[:1]
        for path in store.path_of(record).parent.glob("c*-*")
        if (match := re.fullmatch(r"(?:checkpoints|collected)-(\d+(?:,\d+)*)", path.name))
        for seed in match[1].split(",")
    }
    return {seed: record for seed, record in records.items() if seed not in left}


def _surroundings(settings: LauncherSettings, folder: Path) -> Surroundings:
    """What units take over of this process, and how they share their machine."""
    names = ("D4RL_DATASET_DIR", "MINARI_DATASETS_PATH", "HF_ENDPOINT")
    passed = {
        name: value for name, value in os.environ.items() if name.startswith("CQLBENCH_") or name in names
    }
    # A record says on how many threads it was made: a retry must compute on as many.
    own = {"OMP_NUM_THREADS": str(settings.cpus), "CQLBENCH_PATIENCE": str(3 * EXPIRY)}
    if 0 < settings.gpus < 1:
        own["CQLBENCH_GPU_FRACTION"] = str(settings.gpus)
    return Surroundings(str(folder), passed | own, settings.retries, str(Path.cwd()))


def _follow(
    launcher: Launcher, units: Sequence[Unit], surroundings: Surroundings, board: Board
) -> Mapping[int, Outcome]:
    outcomes: dict[int, Outcome] = {}
    try:
        launcher.submit(units, surroundings)
        with board:
            while len(outcomes) < len(units):
                outcomes |= launcher.wait(_SECOND)
                board.update(outcomes)
    except BaseException:
        launcher.cancel()
        raise
    return outcomes


def _ranges(seeds: Sequence[int]) -> str:
    """`0-3,7` of [0, 1, 2, 3, 7]."""
    parts: list[list[int]] = []
    for seed in seeds:
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)
