"""`cqlbench select`: a choice among recorded policies without the environment, and how right it is."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from cqlbench.core.devices import device_of
from cqlbench.core.errors import ConfigError
from cqlbench.evaluation.fqe import FQEConfig
from cqlbench.experiments.selection import candidates
from cqlbench.records.filters import counting_lines, read
from cqlbench.records.find import find_run
from cqlbench.records.store import RecordStore
from cqlbench.reporting.publish import publish
from cqlbench.reporting.selection import choose


def select(
    console: Console,
    runs: Sequence[str],
    steps: int,
    discount: float,
    play: int,
    device: str,
    plots: bool,
    output: Path | None,
    results: Path,
    **filters: str,
) -> None:
    """Choose among the policies of each dataset and report the runs with what was chosen.

    Raises:
        UserError: no record, policies or dataset; or records that must not meet in one table.
    """
    lines = counting_lines(results, filters)
    if runs:
        names = {find_run(results, run) for run in runs}
        lines = [line for line in lines if line.run in names]
        if not lines:
            raise ConfigError("None of the named runs passes the filters.")
    records, store, choices = read(results, lines), RecordStore(results), []
    config = FQEConfig(steps=steps, discount=discount)

    def say(text: str) -> None:
        console.print(Text(text, style="yellow"), soft_wrap=True)

    for dataset, group in itertools.groupby(records, key=lambda record: record.dataset.id):
        table = candidates(store, [*group], config, device_of(device), play, say)
        choices.append(choose(dataset, table, discount))
    publish(records, "last", plots, output or results / "report" / "selection", console, choices=choices)
    for choice in choices:
        policies = choice.policies
        run = policies.loc[policies["label"] == choice.chosen, "run"].iloc[0]
        console.print(Text(f"Chosen   {run}: {choice.chosen}"), soft_wrap=True)
