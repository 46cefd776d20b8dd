"""`cqlbench bench`, `finetune` and `train`: a run; logged; its config printed; sweeps."""

import hashlib
import sys
from collections.abc import Sequence

from omegaconf import OmegaConf
from rich.console import Console
from rich.text import Text

from cqlbench.core.errors import ConfigError, UserError
from cqlbench.experiments import run
from cqlbench.experiments.compose import TEXT
from cqlbench.experiments.launchers.launch import Job, device_for, launch
from cqlbench.experiments.launchers.settings import LauncherSettings, split
from cqlbench.experiments.plan import make_plan
from cqlbench.experiments.recorded import finished
from cqlbench.experiments.sweep import job_words
from cqlbench.experiments.sweep import multirun as combinations

_LOGGED = "logger=csv"


def bench(console: Console, settings: Sequence[str]) -> int:
    """Train, evaluate and record a seed batch; the status is 1 where a seed failed."""
    return run.status_of(run.bench(make_plan(settings), console))


def finetune(console: Console, settings: Sequence[str]) -> int:
    """As `bench`, with frames from the environment after the dataset's."""
    return run.status_of(run.bench(make_plan(settings, online=True), console))


def train(console: Console, settings: Sequence[str], print_config: bool, multirun: bool) -> int:
    """Train, evaluate, record and log a seed batch; or a job of every combination of values, one by one.

    Raises:
        UserError: a mistake in the settings, or a job that failed; the others have run then.
    """
    settings, launcher = split(settings)
    if not multirun:
        for word in settings:
            if word.partition("=")[0] not in ("seeds", *TEXT) and len(job_words(word)) > 1:
                raise ConfigError(f"{word} names several values; add --multirun to run each of them.")
    jobs = list(combinations(settings)) if multirun else [list(settings)]
    if launcher is not None and not print_config:
        return _launched(jobs, launcher, console)
    if not multirun:
        return _job(settings, print_config, console)
    failed, status = [], 0
    for number, job in enumerate(jobs, start=1):
        label = "---\n# job" if print_config else "Job     "
        console.print(Text(f"{label} {number} of {len(jobs)}: {' '.join(job)}"), soft_wrap=True)
        try:
            status |= _job(job, print_config, console)
        except UserError as error:
            sys.stderr.write(f"Job {number} of {len(jobs)}: {error}\n")
            failed.append(f"job {number} ({' '.join(job)}): {error}")
    _refuse(failed, len(jobs))
    return status


def _launched(jobs: Sequence[Sequence[str]], launcher: LauncherSettings, console: Console) -> int:
    """The jobs, on a launcher; a sweep's state is kept under a name that stands for its jobs."""
    title = f"train-{hashlib.sha256(repr(jobs).encode()).hexdigest()[:8]}"
    planned = [
        Job(
            f"job {number} of {len(jobs)} ({' '.join(job)})",
            "train",
            (_LOGGED, *job),
            make_plan([_LOGGED, *job], device=device_for(launcher, job)),
        )
        for number, job in enumerate(jobs, start=1)
    ]
    fates = launch(planned, launcher, title, console, finished)
    problems = zip(planned, fates, strict=True)
    _refuse([f"{job.name}: {fate.problem}" for job, fate in problems if fate.problem], len(jobs))
    return int(any(outcome.status == 1 for fate in fates for outcome in fate.outcomes))


def _refuse(failed: Sequence[str], jobs: int) -> None:
    if failed:
        raise UserError(f"{len(failed)} of {jobs} jobs failed, first {failed[0]}")


def _job(settings: Sequence[str], print_only: bool, console: Console) -> int:
    plan = make_plan([_LOGGED, *settings])
    if print_only:
        console.print(Text(OmegaConf.to_yaml(OmegaConf.structured(plan.config))), end="", soft_wrap=True)
        return 0
    return run.status_of(run.bench(plan, console))
