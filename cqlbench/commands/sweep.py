"""`cqlbench sweep`: the configurations of a sweep, made, resumed or found recorded, and their report."""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from cqlbench.core.devices import device_facts
from cqlbench.core.errors import ConfigError, UserError
from cqlbench.experiments.compose import value_of
from cqlbench.experiments.launchers.launch import Job, device_for, launch
from cqlbench.experiments.launchers.settings import LauncherSettings, split
from cqlbench.experiments.plan import make_plan
from cqlbench.experiments.recorded import finished, without_dataset
from cqlbench.experiments.run import bench, status_of
from cqlbench.experiments.sweep import sweep_jobs
from cqlbench.records import provenance
from cqlbench.records.schema import Record
from cqlbench.records.store import RecordStore
from cqlbench.reporting.publish import publish
from cqlbench.reporting.report import Bold, Selection


def sweep(
    console: Console, draw: int | None, select: Selection, bold: Bold, plots: bool, settings: Sequence[str]
) -> int:
    """Run every configuration and report exactly those into the results folder's `report/sweep`.

    Raises:
        UserError: a mistake in the settings (nothing is run then), or runs that failed; the others were made
            and are reported.
    """
    settings, launcher = split(settings)
    jobs = _jobs(settings, draw, launcher)
    if launcher is None:
        records, failed = _made_here(jobs, console)
    else:
        records, failed = _launched(jobs, launcher, console)
        if launcher.dry_run:
            return 0
    if records:
        output = Path(value_of(settings, "results", "results")) / "report" / "sweep"
        publish(records, select, plots, output, console, key="results", bold=bold)
    if failed:
        raise UserError(f"{len(failed)} of {len(jobs)} runs failed, first {failed[0]}")
    return status_of(records)


def _jobs(settings: Sequence[str], draw: int | None, launcher: LauncherSettings | None) -> list[Job]:
    jobs = []
    for words in sweep_jobs(settings, draw):
        name, device = " ".join(words), device_for(launcher, words) if launcher else None
        try:
            jobs.append(Job(name, "bench", tuple(words), make_plan(words, device=device)))
        except ConfigError as error:
            raise ConfigError(f"{str(error).rstrip('.')} (in {name}).") from error
    return jobs


def _made_here(jobs: Sequence[Job], console: Console) -> tuple[list[Record], list[str]]:
    """The records of all jobs, made one by one, and what became of those that failed."""
    records, failed = list[Record](), list[str]()
    for number, job in enumerate(jobs, start=1):
        console.print(Text(f"Sweep    {number} of {len(jobs)}: {job.name}"), soft_wrap=True)
        try:
            records += bench(job.plan, console)
        except UserError as error:
            sys.stderr.write(f"Run {number} of {len(jobs)}: {error}\n")
            failed.append(f"run {number} ({job.name}): {error}")
    return records, failed


def _launched(
    jobs: Sequence[Job], launcher: LauncherSettings, console: Console
) -> tuple[list[Record], list[str]]:
    """The same on a launcher; the sweep's state is kept under a name that stands for its jobs."""
    title = f"sweep-{hashlib.sha256(repr([job.words for job in jobs]).encode()).hexdigest()[:8]}"
    fates = launch(jobs, launcher, title, console, finished)
    records = list[Record]()
    for job in jobs:
        origin = provenance.collect(*device_facts(str(job.plan.device)), job.plan.arguments)
        store = RecordStore(Path(job.plan.config.results))
        records += without_dataset(job.plan, origin, store, finished).records.values()
    failed = [f"{job.name}: {fate.problem}" for job, fate in zip(jobs, fates, strict=True) if fate.problem]
    return records, failed
