"""`cqlbench sweep`: the configurations of a sweep, made, resumed or found recorded, and their report."""

import hashlib
import pickle
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from cqlbench.core.devices import device_facts
from cqlbench.core.errors import ConfigError, UserError
from cqlbench.experiments.compose import value_of
from cqlbench.experiments.launchers.launch import Fate, Work
from cqlbench.experiments.launchers.settings import LauncherSettings
from cqlbench.experiments.launchers.work import Job, device_for, work_of
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
    jobs = _jobs(settings, draw)
    return _report(console, jobs, *_made_here(jobs, console), select, bold, plots, settings)


def work(settings: Sequence[str], launcher: LauncherSettings, keys: Mapping[str, Any]) -> Work:
    """What a launcher is to run; `keys`: the arguments of `sweep`.

    The sweep's state is kept under a name that stands for its jobs.
    """
    jobs = _jobs(settings, keys["draw"], launcher)
    title = f"sweep-{hashlib.sha256(repr([job.words for job in jobs]).encode()).hexdigest()[:8]}"
    return work_of(jobs, launcher, title, finished, jobs)


def conclude(
    console: Console, settings: Sequence[str], keys: Mapping[str, Any], fates: Sequence[Fate], plans: bytes
) -> int:
    """Report as `sweep` does, once a launcher has run what `work` said; `plans`: of the work."""
    jobs: list[Job] = pickle.loads(plans)  # noqa: S301 (this command's own)
    others = {key: value for key, value in keys.items() if key != "draw"}
    records = list[Record]()
    for job in jobs:
        origin = provenance.collect(*device_facts(str(job.plan.device)), job.plan.arguments)
        store = RecordStore(Path(job.plan.config.results))
        records += without_dataset(job.plan, origin, store, finished).records.values()
    failed = [f"{job.name}: {fate.problem}" for job, fate in zip(jobs, fates, strict=True) if fate.problem]
    return _report(console, jobs, records, failed, **others, settings=settings)


def _report(
    console: Console,
    jobs: Sequence[Job],
    records: Sequence[Record],
    failed: Sequence[str],
    select: Selection,
    bold: Bold,
    plots: bool,
    settings: Sequence[str],
) -> int:
    if records:
        output = Path(value_of(settings, "results", "results")) / "report" / "sweep"
        publish(records, select, plots, output, console, key="results", bold=bold)
    if failed:
        raise UserError(f"{len(failed)} of {len(jobs)} runs failed, first {failed[0]}")
    return status_of(records)


def _jobs(settings: Sequence[str], draw: int | None, launcher: LauncherSettings | None = None) -> list[Job]:
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
