"""Units on a launcher, followed to their end. It needs no torch: what does has made the units (`work.py`)."""

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.text import Text

from cqlbench.core.errors import ConfigError
from cqlbench.core.lease import EXPIRY, LeaseHeldError, held
from cqlbench.experiments.launchers.board import Board
from cqlbench.experiments.launchers.launcher import Launcher, connect
from cqlbench.experiments.launchers.packing import Packing
from cqlbench.experiments.launchers.settings import LauncherSettings
from cqlbench.experiments.launchers.unit import Outcome, Surroundings, Unit

_SECOND = 1.0


@dataclass(frozen=True)
class Work:
    """What a suite or sweep has a launcher run.

    Attributes:
        title: of the suite or sweep: its folder below `<results>/suites`.
        results: where runs are recorded, an absolute path.
        jobs: its runs, by their names.
        units: what is not recorded of them, numbered from 1.
        job_of: the unit's number -> the place of its job in `jobs`.
        seconds: of each unit, by its number, where runs of its kind are recorded.
        plans: of the jobs, pickled: whoever reports them unpickles them, which takes torch.
    """

    title: str
    results: str
    jobs: tuple[str, ...]
    units: tuple[Unit, ...] = ()
    job_of: Mapping[int, int] = field(default_factory=dict)
    seconds: Mapping[int, float] = field(default_factory=dict)
    plans: bytes = b""


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


def launch(work: Work, settings: LauncherSettings, console: Console) -> list[Fate]:
    """Run all units; what fails stops nothing else.

    Returns:
        What became of each job, as they are ordered.

    Raises:
        ConfigError: the engine cannot be used as asked for; nothing has run then. Or another process runs
            this suite.
    """
    results = Path(work.results)
    folder = results / "suites" / work.title
    outcomes: Mapping[int, Outcome] = {}
    if work.jobs and not work.units:
        console.print(Text(f"Plan     nothing to run: all of {work.title} is recorded"), soft_wrap=True)
    elif work.units:
        what = f"the suite in '{folder}'"
        try:
            with held(folder / ".lease", what, patience=0), closing(connect(settings, results)) as launcher:
                packing = Packing(work.units, launcher.where, launcher.slots, work.seconds)
                packing.show(console)
                if not settings.dry_run:
                    board = Board(folder, work.title, packing, console)
                    outcomes = _follow(launcher, work.units, _surroundings(settings, folder), board)
        except LeaseHeldError as error:
            raise ConfigError(f"{error} 'cqlbench status' shows how far it is.") from error
    of_job: list[list[Outcome]] = [[] for _ in work.jobs]
    for number, outcome in sorted(outcomes.items()):
        of_job[work.job_of[number]].append(outcome)
    return [Fate(tuple(each)) for each in of_job]


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
