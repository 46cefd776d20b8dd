"""`make speed`: measure, print, record.

    PYTHONPATH=scripts python -m speed device=auto results=results rounds=9 memory_steps=20000 tf32=true
    PYTHONPATH=scripts python -m speed algorithms=iql,td3_bc threads=1 clock=cpu
    PYTHONPATH=scripts python -m speed busy=2

`rounds` is how often everything is timed, in turns; `memory_steps` the length of the run whose memory is
watched (0: none); `tf32` whether products on CUDA may round to TF32. `algorithms` measures the rows of these
alone; by default there are rows of all, CQL's at several sizes, collection and memory. `threads` is how many
compute. `clock=cpu` times the algorithms' rows in seconds that a process computed, not in those that passed,
which a busy machine makes longer. `busy=2` measures instead CQL's rows alone and beside one and two processes
that never sleep, and what training, evaluation and collection keep of their share there.
"""

import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from cqlbench.core.devices import device_of, on_threads
from cqlbench.core.errors import ConfigError
from cqlbench.core.threads import threads_of
from speed.algorithms import algorithms_table, measure_algorithms, names_of
from speed.busy import measure_busy
from speed.busy import table as busy_table
from speed.collection import measure_collection
from speed.measure import measure, table, write
from speed.memory import memory_growth
from speed.remote import Clock
from speed.settings import read_settings, run


@dataclass
class Settings:
    """What is measured, as the module's documentation says."""

    device: str = "auto"
    results: str = "results"
    rounds: int = 9
    memory_steps: int = 20_000
    tf32: bool = True
    algorithms: str | None = None
    threads: str = "auto"
    clock: str = "wall"
    busy: int = 0


def speed(arguments: list[str], console: Console) -> None:
    """Measure the gradient step on this machine.

    Raises:
        UserError: an unknown or invalid argument, or a results folder that cannot be written.
    """
    settings = read_settings(Settings, arguments)
    device, rounds = device_of(settings.device), settings.rounds
    if rounds < 1:
        raise ConfigError(f"rounds={rounds} must be at least 1.")
    if settings.busy < 0:
        raise ConfigError(f"busy={settings.busy} must be 0 or a number of processes.")
    names, clock = names_of(settings.algorithms or "all"), _clock(settings, device)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if settings.tf32 else "highest")
    with on_threads(threads_of(settings.threads)):
        if settings.busy:
            parts = _busy(device, settings, console)
        else:
            parts = {} if settings.algorithms else _cql_alone(device, settings, console)
            rows = measure_algorithms(names, device, rounds, console, clock)
            console.print(algorithms_table(rows))
            parts |= {"clock": settings.clock, "algorithms": [asdict(row) for row in rows]}
        console.print(f"Recorded {write(parts, Path(settings.results), device)}")


def _clock(settings: Settings, device: torch.device) -> Clock:
    if settings.clock == "wall":
        return time.perf_counter
    if settings.clock != "cpu":
        raise ConfigError(f"clock={settings.clock} must be wall or cpu.")
    if device.type != "cpu" or settings.threads != "1":
        raise ConfigError("clock=cpu requires device=cpu and threads=1.")
    return time.process_time


def _busy(device: torch.device, settings: Settings, console: Console) -> dict[str, Any]:
    if device.type != "cpu":
        raise ConfigError("busy= requires device=cpu.")
    kept = measure_busy(settings.busy, settings.rounds, console)
    console.print(busy_table(kept))
    rows = measure(device, settings.rounds, console, settings.busy)
    console.print(table(rows))
    return {"busy": [asdict(row) for row in kept], "rows": [asdict(row) for row in rows]}


def _cql_alone(device: torch.device, settings: Settings, console: Console) -> dict[str, Any]:
    """CQL at several sizes, collection, and memory over many steps."""
    rows = measure(device, settings.rounds, console)
    console.print(table(rows))
    collection = measure_collection(device, settings.rounds)
    console.print("Collection: not measured (requires envpool)." if collection is None else str(collection))
    growth = memory_growth(settings.memory_steps, device) if settings.memory_steps else None
    if growth is not None:
        console.print(
            f"Memory: {growth.before:.0f} MiB resident, {growth.after:.0f} MiB after {growth.steps:,} more"
            f" steps ({growth.percent:+.1f} %)"
        )
    return {
        "rows": [asdict(row) for row in rows],
        "collection": None if collection is None else asdict(collection),
        "memory": None if growth is None else asdict(growth),
    }


if __name__ == "__main__":
    sys.exit(run("speed", speed))
