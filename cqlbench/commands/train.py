"""`cqlbench train`: a run as `bench` makes it, logged; its config printed; sweeps."""

import sys
from collections.abc import Sequence

from omegaconf import OmegaConf
from rich.console import Console
from rich.text import Text

from cqlbench.core.errors import ConfigError, UserError
from cqlbench.experiments.compose import TEXT
from cqlbench.experiments.plan import make_plan
from cqlbench.experiments.run import bench, status_of
from cqlbench.experiments.sweep import job_words, multirun

_LOGGED = "logger=csv"


def train(words: Sequence[str], console: Console) -> int:
    """Train, evaluate, record and log a seed batch; with `--multirun`, one after the other.

    Args:
        words: `key=value` overrides. `--print-config` prints the composed config and runs nothing;
            `--multirun` makes a job of every combination of values (`a=1,2`, `a=range(1,4)`).
        console: where announcements and tables go.

    Returns:
        Exit status: 1 where a seed failed.

    Raises:
        UserError: a mistake in the words, or a job that failed; the others have run then.
    """
    flags = {word for word in words if word.startswith("--")}
    unknown = flags - {"--print-config", "--multirun"}
    if unknown:
        raise ConfigError(f"There is no option '{min(unknown)}'; there is --print-config and --multirun.")
    overrides = [word for word in words if word not in flags]
    if "--multirun" not in flags:
        for word in overrides:
            if word.partition("=")[0] not in ("seeds", *TEXT) and len(job_words(word)) > 1:
                raise ConfigError(f"{word} names several values; add --multirun to run each of them.")
        return _job(overrides, "--print-config" in flags, console)
    jobs = list(multirun(overrides))
    failed, status = [], 0
    for number, job in enumerate(jobs, start=1):
        label = "---\n# job" if "--print-config" in flags else "Job     "
        console.print(Text(f"{label} {number} of {len(jobs)}: {' '.join(job)}"), soft_wrap=True)
        try:
            status |= _job(job, "--print-config" in flags, console)
        except UserError as error:
            sys.stderr.write(f"Job {number} of {len(jobs)}: {error}\n")
            failed.append(f"job {number} ({' '.join(job)}): {error}")
    if failed:
        raise UserError(f"{len(failed)} of {len(jobs)} jobs failed, first {failed[0]}")
    return status


def _job(words: Sequence[str], print_only: bool, console: Console) -> int:
    plan = make_plan([_LOGGED, *words])
    if print_only:
        console.print(Text(OmegaConf.to_yaml(OmegaConf.structured(plan.config))), end="", soft_wrap=True)
        return 0
    return status_of(bench(plan, console))
