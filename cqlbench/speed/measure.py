"""`make speed`: interleaved timings, reported as ratios."""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from cqlbench.errors import ConfigError
from cqlbench.records import atomic, provenance
from cqlbench.speed import baselines
from cqlbench.speed.memory import Growth
from cqlbench.speed.workload import Workload, products
from cqlbench.training.memory import keep_freed_memory

SIZES = ((256, 256), (256, 256, 256))
SEED_BATCHES = (1, 4, 10)
_WARMUP = 3


@dataclass(frozen=True)
class Timing:
    """Seconds of one step of one contestant: the median over rounds, and the fastest round."""

    median: float
    best: float


@dataclass(frozen=True)
class Row:
    """One workload's result. Ratios compare medians of steps that were timed in turns.

    Attributes:
        size: network size, `256x3`.
        seeds: S.
        steps_per_second: gradient steps of the seed batch per second.
        seed_steps_per_second: the same, times S.
        over_floor: our step's time over S times the floor at one seed.
        over_batched_floor: our step's time over the time of its own products, all seeds in each product.
        over_torchrl: torchrl's time per seed over ours per seed: how many times faster we are.
        over_plain: the plain step's time per seed over ours per seed.
        gflops: of the matrix products in our step, per second of it.
        seconds: contestant -> timing.
    """

    size: str
    seeds: int
    steps_per_second: float
    seed_steps_per_second: float
    over_floor: float
    over_batched_floor: float
    over_torchrl: float
    over_plain: float
    gflops: float
    seconds: dict[str, Timing]


def measure(device: torch.device, rounds: int, console: Console) -> list[Row]:
    """Time every workload; prints a line as each is done."""
    if device.type == "cpu":
        keep_freed_memory()
    rows = []
    for hidden in SIZES:
        for seeds in SEED_BATCHES:
            row = measure_one(Workload(seeds, hidden), device, rounds)
            console.print(
                f"{row.size}  S={seeds:<2}  {row.seconds['ours'].median * 1e3:8.2f} ms/step"
                f"  {row.over_floor:5.2f} x floor  {row.over_torchrl:5.2f} x torchrl's speed"
            )
            rows.append(row)
    return rows


def measure_one(workload: Workload, device: torch.device, rounds: int) -> Row:
    """Time one workload against the floor, torchrl's step and the plain step, in turns."""
    alone = Workload(1, workload.hidden, workload.batch_size, workload.proposals, workload.critics)
    contestants = {
        "ours": baselines.ours(workload, device),
        "batched_floor": baselines.floor(workload, device),
        "floor": baselines.floor(alone, device),
        "torchrl": baselines.torchrl(alone, device),
        "plain": baselines.plain(alone, device),
    }
    seconds = time_in_turns(contestants, rounds, device)
    step, seeds = seconds["ours"].median, workload.seeds
    flops = sum(product.flops for product in products(workload))
    return Row(
        size=workload.name,
        seeds=seeds,
        steps_per_second=1 / step,
        seed_steps_per_second=seeds / step,
        over_floor=step / (seeds * seconds["floor"].median),
        over_batched_floor=step / seconds["batched_floor"].median,
        over_torchrl=seconds["torchrl"].median * seeds / step,
        over_plain=seconds["plain"].median * seeds / step,
        gflops=flops / step / 1e9,
        seconds=seconds,
    )


def time_in_turns(
    contestants: dict[str, Callable[[], None]], rounds: int, device: torch.device
) -> dict[str, Timing]:
    """One step of each contestant per round, so that a slow minute of the machine slows all alike."""
    repeats = 10 if device.type == "cuda" else 1
    for step in contestants.values():
        for _ in range(_WARMUP):
            step()
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, step in contestants.items():
            _synchronize(device)
            start = time.perf_counter()
            for _ in range(repeats):
                step()
            _synchronize(device)
            samples[name].append((time.perf_counter() - start) / repeats)
    return {name: Timing(statistics.median(times), min(times)) for name, times in samples.items()}


def table(rows: list[Row]) -> Table:
    """The rows as a terminal table."""
    made = Table(title="One gradient step: batch 256, N = 10, Hopper's dimensions")
    for column in (
        "Size",
        "S",
        "ms/step",
        "seed-steps/s",
        "x floor",
        "x own products",
        "x torchrl",
        "x plain eager",
        "GFLOP/s",
    ):
        made.add_column(column, justify="right")
    for row in rows:
        made.add_row(
            row.size,
            str(row.seeds),
            f"{row.seconds['ours'].median * 1e3:.2f}",
            f"{row.seed_steps_per_second:.1f}",
            f"{row.over_floor:.2f}",
            f"{row.over_batched_floor:.2f}",
            f"{row.over_torchrl:.2f}",
            f"{row.over_plain:.2f}",
            f"{row.gflops:.0f}",
        )
    made.caption = (
        "x floor: time over S times the matrix products alone at one seed; lower is better, 1 is the limit.\n"
        "x torchrl, x plain eager: how many times faster per seed; higher is better."
    )
    return made


def write(rows: list[Row], growth: Growth | None, folder: Path, device: torch.device) -> Path:
    """File the rows with what they were measured on.

    Raises:
        ConfigError: the folder cannot be written.
    """
    origin = provenance.collect(str(device))
    content: dict[str, Any] = {
        "schema_version": 1,
        "rows": [asdict(row) for row in rows],
        "memory": None if growth is None else asdict(growth),
        "created_at": origin.created_at,
        "versions": origin.versions,
        "git": asdict(origin.git),
        "machine": asdict(origin.machine),
    }
    path = folder / "speed" / f"{origin.created_at.replace(':', '')}.json"
    try:
        atomic.create(path, (json.dumps(content, indent=1) + "\n").encode())
    except OSError as error:
        raise ConfigError(f"The results folder {folder} cannot be written: {error.strerror}.") from error
    return path


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
