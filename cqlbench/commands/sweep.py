"""`cqlbench sweep`: the configurations of a sweep, made, resumed or found recorded, and their report."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from cqlbench.core.errors import ConfigError, UserError
from cqlbench.experiments.compose import value_of
from cqlbench.experiments.plan import make_plan
from cqlbench.experiments.run import bench, status_of
from cqlbench.experiments.sweep import sweep_jobs
from cqlbench.reporting.publish import publish
from cqlbench.reporting.report import Selection


def sweep(console: Console, draw: int | None, select: Selection, plots: bool, settings: Sequence[str]) -> int:
    """Run every configuration and report exactly those into the results folder's `report/sweep`.

    Raises:
        UserError: a mistake in the settings (nothing is run then), or runs that failed; the others were made
            and are reported.
    """
    plans = []
    for job in sweep_jobs(settings, draw):
        try:
            plans.append((job, make_plan(job)))
        except ConfigError as error:
            raise ConfigError(f"{str(error).rstrip('.')} (in {' '.join(job)}).") from error
    records, failed = [], []
    for number, (job, plan) in enumerate(plans, start=1):
        console.print(Text(f"Sweep    {number} of {len(plans)}: {' '.join(job)}"), soft_wrap=True)
        try:
            records += bench(plan, console)
        except UserError as error:
            sys.stderr.write(f"Run {number} of {len(plans)}: {error}\n")
            failed.append(f"run {number} ({' '.join(job)}): {error}")
    if records:
        output = Path(value_of(settings, "results", "results")) / "report" / "sweep"
        publish(records, select, plots, output, console, key="results")
    if failed:
        raise UserError(f"{len(failed)} of {len(plans)} runs failed, first {failed[0]}")
    return status_of(records)
