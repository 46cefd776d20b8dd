"""`cqlbench bench`, `finetune` and `train`: a run; logged; its config printed; sweeps."""

import sys
from collections.abc import Sequence

from omegaconf import OmegaConf
from rich.console import Console
from rich.text import Text

from cqlbench.core.errors import ConfigError, UserError
from cqlbench.experiments import run
from cqlbench.experiments.compose import TEXT
from cqlbench.experiments.plan import make_plan
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
    if not multirun:
        for word in settings:
            if word.partition("=")[0] not in ("seeds", *TEXT) and len(job_words(word)) > 1:
                raise ConfigError(f"{word} names several values; add --multirun to run each of them.")
        return _job(settings, print_config, console)
    jobs = list(combinations(settings))
    failed, status = [], 0
    for number, job in enumerate(jobs, start=1):
        label = "---\n# job" if print_config else "Job     "
        console.print(Text(f"{label} {number} of {len(jobs)}: {' '.join(job)}"), soft_wrap=True)
        try:
            status |= _job(job, print_config, console)
        except UserError as error:
            sys.stderr.write(f"Job {number} of {len(jobs)}: {error}\n")
            failed.append(f"job {number} ({' '.join(job)}): {error}")
    if failed:
        raise UserError(f"{len(failed)} of {len(jobs)} jobs failed, first {failed[0]}")
    return status


def _job(settings: Sequence[str], print_only: bool, console: Console) -> int:
    plan = make_plan([_LOGGED, *settings])
    if print_only:
        console.print(Text(OmegaConf.to_yaml(OmegaConf.structured(plan.config))), end="", soft_wrap=True)
        return 0
    return run.status_of(run.bench(plan, console))
