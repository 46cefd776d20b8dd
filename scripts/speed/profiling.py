"""`make profile`: a gradient step's operations by their time.

    PYTHONPATH=scripts python -m speed.profiling device=auto results=results seeds=4 layers=3 steps=3

`layers` counts hidden layers of 256; a CPU is profiled on one thread. The trace that is written opens in
Perfetto (ui.perfetto.dev) or `chrome://tracing`.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from cqlbench.core.devices import device_of, one_thread
from cqlbench.core.errors import ConfigError
from cqlbench.engine.streams import CHUNK
from speed.baselines import ours
from speed.floor import Floor
from speed.remote import timed
from speed.settings import read_settings, run
from speed.workload import Workload, products

_SHOWN = 20


@dataclass
class Settings:
    """What is profiled, as the module's documentation says."""

    device: str = "auto"
    results: str = "results"
    seeds: int = 4
    layers: int = 3
    steps: int = 3


class Operation(NamedTuple):
    """Times of a step: `seconds` on the device by the operation itself, in `calls` calls."""

    name: str
    calls: float
    seconds: float


def operations(workload: Workload, device: torch.device, steps: int, trace: Path) -> list[Operation]:
    """Those of a gradient step, the longest first.

    Args:
        workload: what is trained.
        device: where; on CUDA, steps are taken by the chunk.
        steps: how many are averaged over.
        trace: the file that is written.

    Raises:
        ConfigError: the trace cannot be written.
    """
    run, cuda = ours(workload, device), device.type == "cuda"
    each = CHUNK if cuda else 1
    run(2 * each)  # the first captures the graph
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    # Without `acc_events`, torch 2.11 warns of the cycles before this one; there are none.
    with profile(activities=kinds, acc_events=True) as found:
        run(steps * each)
        if cuda:
            torch.cuda.synchronize(device)
    try:
        trace.parent.mkdir(parents=True, exist_ok=True)
        trace.touch()
    except OSError as error:
        raise ConfigError(f"The trace {trace} cannot be written: {error.strerror}.") from error
    found.export_chrome_trace(str(trace))
    taken = steps * each
    made = [
        Operation(
            event.key,
            event.count / taken,
            (event.self_device_time_total if cuda else event.self_cpu_time_total) / 1e6 / taken,
        )
        for event in found.key_averages()
    ]
    return sorted((one for one in made if one.seconds), key=lambda one: -one.seconds)


def table(found: list[Operation], floor_seconds: float) -> Table:
    """The longest operations, the others in one line, and their sum."""
    shown = Table("operation", "calls", "ms", "% of the step", "x floor", box=SIMPLE_HEAD)
    for column in shown.columns[1:]:
        column.justify = "right"
    total = sum(one.seconds for one in found)
    rest = found[_SHOWN:]
    others = Operation("others", sum(one.calls for one in rest), sum(one.seconds for one in rest))
    whole = Operation("step", sum(one.calls for one in found), total)
    for one in (*found[:_SHOWN], others, whole):
        shown.add_row(
            one.name[:60],
            f"{one.calls:,.0f}",
            f"{one.seconds * 1e3:.2f}",
            f"{100 * one.seconds / total:.1f}",
            f"{one.seconds / floor_seconds:.2f}",
        )
    return shown


def show(arguments: list[str], console: Console) -> None:
    """Profile the gradient step on this machine.

    Raises:
        UserError: an unknown or invalid argument, or a trace that cannot be written.
    """
    settings = read_settings(Settings, arguments)
    for name in ("seeds", "layers", "steps"):
        if getattr(settings, name) < 1:
            raise ConfigError(f"{name}={getattr(settings, name)} must be at least 1.")
    device = device_of(settings.device)
    workload = Workload(settings.seeds, (256,) * settings.layers)
    trace = Path(settings.results) / "speed" / f"trace-{device.type}-{workload.name}-{settings.seeds}.json"
    with one_thread():
        found = operations(workload, device, settings.steps, trace)
        floor = Floor(products(workload), device)
        floor()
        seconds = timed(floor, settings.steps, device) / settings.steps
    console.print(table(found, seconds))
    console.print(f"Trace: {trace}")


if __name__ == "__main__":
    sys.exit(run("profile", show))
