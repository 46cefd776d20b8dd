"""`make speed`: interleaved timings, reported as ratios."""

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from cqlbench.errors import ConfigError
from cqlbench.records import atomic, provenance
from cqlbench.speed import baselines
from cqlbench.speed.memory import Growth
from cqlbench.speed.remote import Remote, timed
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
        over_torchrl: torchrl's time per seed over ours per seed: how many times faster we are. torchrl's and
            the plain step run in processes of their own, with the C allocator as it comes.
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
    here = {
        "ours": baselines.ours(workload, device),
        "batched_floor": baselines.floor(workload, device),
        "floor": baselines.floor(alone, device),
    }
    threads = torch.get_num_threads()
    with (
        Remote("torchrl", alone, device, threads) as torchrl,
        Remote("plain", alone, device, threads) as plain,
    ):
        contestants = {name: partial(timed, step, device=device) for name, step in here.items()}
        seconds = time_in_turns(
            contestants | {"torchrl": torchrl.steps, "plain": plain.steps}, rounds, device
        )
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
    contestants: dict[str, Callable[[int], float]], rounds: int, device: torch.device
) -> dict[str, Timing]:
    """Time each contestant once per round, so that a slow minute of the machine slows all alike.

    Args:
        contestants: each takes so many steps and returns the seconds they took.
        rounds: how many times.
        device: where; on CUDA a turn is many steps.
    """
    count = 10 if device.type == "cuda" else 1
    for steps in contestants.values():
        steps(_WARMUP)
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, steps in contestants.items():
            samples[name].append(steps(count) / count)
    return {name: Timing(statistics.median(times), min(times)) for name, times in samples.items()}


def table(rows: list[Row]) -> Table:
    """The rows as a terminal table."""
    made = Table(title="One gradient step: batch 256, N = 10, Hopper's dimensions")
    for column in ("Size", "S", "ms", "seed-steps/s", "x floor", "x own", "x torchrl", "x plain", "GFLOP/s"):
        made.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        made.add_row(
            row.size,
            str(row.seeds),
            f"{row.seconds['ours'].median * 1e3:.1f}",
            f"{row.seed_steps_per_second:.1f}",
            f"{row.over_floor:.2f}",
            f"{row.over_batched_floor:.2f}",
            f"{row.over_torchrl:.2f}",
            f"{row.over_plain:.2f}",
            f"{row.gflops:.0f}",
        )
    made.caption = (
        "x floor: time over S times one seed's matrix products alone; x own: over all seeds' own.\n"
        "x torchrl, x plain: how many times faster per seed; both in processes of their own."
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
