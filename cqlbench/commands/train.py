"""`cqlbench bench`, `finetune` and `train`: a run; logged; its config printed; sweeps."""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console
from rich.text import Text

from cqlbench.commands.launched import refuse
from cqlbench.core.errors import ConfigError, UserError
from cqlbench.experiments import run
from cqlbench.experiments.compose import TEXT
from cqlbench.experiments.launchers.launch import Work
from cqlbench.experiments.launchers.settings import LauncherSettings
from cqlbench.experiments.launchers.work import Job, device_for, work_of
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
    jobs = _jobs(settings, multirun)
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
    refuse(failed, len(jobs))
    return status


def work(settings: Sequence[str], launcher: LauncherSettings, keys: Mapping[str, Any]) -> Work:
    """What a launcher is to run; `keys`: the arguments of `train`.

    Its state is kept under a name that stands for its jobs.
    """
    jobs = _jobs(settings, keys["multirun"])
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
    return work_of(planned, launcher, title, finished)


def _jobs(settings: Sequence[str], multirun: bool) -> list[list[str]]:
    """The words of each job.

    Raises:
        ConfigError: a key has several values, and no sweep is asked for.
    """
    if multirun:
        return list(combinations(settings))
    for word in settings:
        if word.partition("=")[0] not in ("seeds", *TEXT) and len(job_words(word)) > 1:
            raise ConfigError(f"{word} names several values; add --multirun to run each of them.")
    return [list(settings)]


def _job(settings: Sequence[str], print_only: bool, console: Console) -> int:
    plan = make_plan([_LOGGED, *settings])
    if print_only:
        console.print(Text(OmegaConf.to_yaml(OmegaConf.structured(plan.config))), end="", soft_wrap=True)
        return 0
    return run.status_of(run.bench(plan, console))
