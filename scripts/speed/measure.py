"""`make speed`: interleaved timings, reported as ratios."""

import contextlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import structs
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from cqlbench.core import atomic
from cqlbench.core.allocator import keep_freed_memory
from cqlbench.core.devices import device_facts
from cqlbench.core.errors import ConfigError
from cqlbench.engine.streams import CHUNK
from cqlbench.records import provenance
from speed import baselines
from speed.floor import Choice, Floor, floor_table
from speed.jax_step import has_jax, jax_step
from speed.remote import Remote, timed
from speed.roofline import Peaks, bytes_moved, measure_peaks, roofline_seconds
from speed.spinning import spinning
from speed.workload import Workload, products

WORKLOADS = tuple(
    Workload(seeds, *size)
    for size in (((256, 256, 256), 256, 10), ((256, 256), 256, 10), ((128, 128), 128, 4))
    for seeds in (1, 4, 10)
)
"""CORL's sizes and the quick budget's, one, four and ten seeds each."""

Contestant = Callable[[int], float]
"""Takes so many steps and returns the seconds they took."""

_WARMUP = 3
_STEPS_PER_TURN = 3
"""On a CPU: enough that what the turn before left in the caches does not count."""
_TURN_SECONDS = 0.3
"""Many slices of a scheduler, and longer than a launch of an engine."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one step of one contestant over the rounds: median, fastest, and the quartiles' distance."""

    median: float
    best: float
    spread: float


@dataclass(frozen=True)
class Row:
    """One workload's result. Ratios compare medians of steps that were timed in turns.

    Attributes:
        size: network size, `256x3`.
        seeds: S.
        beside: processes that never sleep, beside all contestants.
        steps_per_second: gradient steps of the seed batch per second.
        seed_steps_per_second: the same, times S.
        over_floor: our step's time over S times the floor at one seed: its products by the fastest kernels.
        over_batched_floor: our step's time over the time of its own products, all seeds in each product.
        over_torchrl: torchrl's time per seed, `CQLLoss` as it comes, over ours per seed: how many times
            faster we are. torchrl's and the plain step run in processes of their own, with the C allocator as
            it comes.
        over_torchrl_without_vmap: the same with `CQLLoss(deactivate_vmap=True)`.
        over_plain: the plain step's time per seed over ours per seed.
        over_jax: the time of JAX's step of all seeds over ours; `None` where JAX is not installed.
        gflops: of the matrix products in our step, per second of it.
        gigabytes: that the products of one step move at least: operands read and results written once.
        roofline_share: on CUDA, the least time that the products can take on this device, by its own measured
            product rate and bandwidth, over our step's time.
        seconds: contestant -> timing.
        kernels: of the floor at one seed.
    """

    size: str
    seeds: int
    beside: int
    steps_per_second: float
    seed_steps_per_second: float
    over_floor: float
    over_batched_floor: float
    over_torchrl: float
    over_torchrl_without_vmap: float
    over_plain: float
    over_jax: float | None
    gflops: float
    gigabytes: float
    roofline_share: float | None
    seconds: dict[str, Timing]
    kernels: list[Choice]


def measure(device: torch.device, rounds: int, console: Console, most_beside: int = 0) -> list[Row]:
    """Time every workload, beside 0, 1, … `most_beside` processes; prints a line as each is done."""
    if device.type == "cpu":
        keep_freed_memory()
    peaks = measure_peaks(device) if device.type == "cuda" else None
    if peaks is not None:
        console.print(f"Peaks: {peaks.flops / 1e12:.0f} TFLOP/s, {peaks.bandwidth / 1e9:.0f} GB/s")
    rows = []
    for size, workloads in itertools.groupby(WORKLOADS, lambda each: each.name):
        for workload in workloads:
            for row in measure_one(workload, device, rounds, most_beside, peaks):
                beside = f"  beside {row.beside}" if most_beside else ""
                console.print(
                    f"{size}  S={row.seeds:<2}{beside}  {row.seconds['ours'].median * 1e3:8.2f} ms/step"
                    f"  {row.over_floor:5.2f} x floor  {row.over_torchrl:5.2f} x torchrl's speed"
                )
                rows.append(row)
        console.print(floor_table(rows[-1].kernels, f"The floor of {size}, one seed"))
    return rows


def measure_one(
    workload: Workload, device: torch.device, rounds: int, most_beside: int = 0, peaks: Peaks | None = None
) -> Iterator[Row]:
    """Time one workload against the floor, torchrl's step and the plain step, in turns.

    Yields:
        Its row alone, then beside 1, 2, … `most_beside` processes that never sleep.
    """
    alone = Workload(1, workload.hidden, workload.batch_size, workload.proposals, workload.critics)
    floors = {
        "batched_floor": Floor(products(workload), device),
        "floor": Floor(products(alone), device),
    }
    run = baselines.ours(workload, device)

    def ours(count: int) -> float:
        return timed(partial(run, count), 1, device)

    with contextlib.ExitStack() as processes:
        contestants: dict[str, Contestant] = {"ours": ours}
        for make in (baselines.torchrl, baselines.torchrl_without_vmap, baselines.plain):
            remote = processes.enter_context(Remote(partial(make, alone), device))
            contestants[make.__name__] = remote.steps
        if has_jax():
            contestants["jax"] = processes.enter_context(Remote(partial(jax_step, workload), device)).steps
        for name, step in floors.items():
            contestants[name] = partial(timed, step, device=device)
        count = steps_per_turn(ours, device, _TURN_SECONDS)
        for beside in range(most_beside + 1):
            with spinning(beside):
                seconds = time_in_turns(contestants, rounds, device, count)
            yield _row(workload, beside, seconds, floors["floor"].choices, peaks)


def _row(
    workload: Workload, beside: int, seconds: dict[str, Timing], kernels: list[Choice], peaks: Peaks | None
) -> Row:
    duration, seeds = seconds["ours"].median, workload.seeds
    needed = products(workload)
    return Row(
        size=workload.name,
        seeds=seeds,
        beside=beside,
        steps_per_second=1 / duration,
        seed_steps_per_second=seeds / duration,
        over_floor=duration / (seeds * seconds["floor"].median),
        over_batched_floor=duration / seconds["batched_floor"].median,
        over_torchrl=seconds["torchrl"].median * seeds / duration,
        over_torchrl_without_vmap=seconds["torchrl_without_vmap"].median * seeds / duration,
        over_plain=seconds["plain"].median * seeds / duration,
        over_jax=seconds["jax"].median / duration if "jax" in seconds else None,
        gflops=sum(product.flops for product in needed) / duration / 1e9,
        gigabytes=bytes_moved(needed) / 1e9,
        roofline_share=None if peaks is None else roofline_seconds(needed, peaks) / duration,
        seconds=seconds,
        kernels=kernels,
    )


def steps_per_turn(ours: Contestant, device: torch.device, seconds: float, every: int = 1) -> int | None:
    """How many steps take so many seconds on a CPU; `None` on CUDA, where a turn is whole chunks.

    There a step taken here would put later ones outside the graphs. On a CPU they are whole periods of the
    stages (`every`), and whole chunks of noise where they are short.
    """
    if device.type == "cuda":
        return None
    ours(every)
    wanted = seconds * every / ours(every)
    whole = math.lcm(every, CHUNK) if wanted > CHUNK / 2 else every
    return whole * max(1, round(wanted / whole))


def steps_timed(rounds: int) -> int:
    """How many steps each contestant of `time_in_turns` takes on a CPU."""
    return _WARMUP + rounds * _STEPS_PER_TURN


def time_in_turns(
    contestants: Mapping[str, Contestant], rounds: int, device: torch.device, count: int | None = None
) -> dict[str, Timing]:
    """Time each contestant once per round, so that a slow minute of the machine slows all alike.

    Args:
        contestants: each takes so many steps and returns the seconds they took.
        rounds: how many times.
        device: where; on CUDA a turn is many steps.
        count: steps of a turn on a CPU, where the default suits CQL.
    """
    count = 4 * CHUNK if device.type == "cuda" else count or _STEPS_PER_TURN
    for steps in contestants.values():
        # Whole chunks on CUDA, so that every timed turn replays graphs and takes no step outside them.
        steps(count if device.type == "cuda" else _WARMUP)
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, steps in contestants.items():
            samples[name].append(steps(count) / count)
    return {name: _timing(times) for name, times in samples.items()}


def _timing(times: list[float]) -> Timing:
    lower, median, upper = np.percentile(times, (25, 50, 75))
    return Timing(float(median), min(times), float(upper - lower))


def table(rows: list[Row]) -> Table:
    """The rows as a terminal table."""
    title = "One gradient step of CQL, Hopper's dimensions"
    made = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    on_cuda = any(row.roofline_share is not None for row in rows)
    with_jax = any(row.over_jax is not None for row in rows)
    beside = any(row.beside for row in rows)
    columns: dict[str, Callable[[Row], str]] = {
        "Size": lambda row: row.size,
        "S": lambda row: str(row.seeds),
        **({"beside": lambda row: str(row.beside)} if beside else {}),
        "ms": lambda row: f"{row.seconds['ours'].median * 1e3:.1f}",
        "+-": lambda row: f"{row.seconds['ours'].spread / row.seconds['ours'].median:.0%}",
        "steps/s": lambda row: f"{row.seed_steps_per_second:.1f}",
        "x floor": lambda row: f"{row.over_floor:.2f}",
        "x torchrl": lambda row: f"{row.over_torchrl:.2f}",
        **({} if beside else {"no vmap": lambda row: f"{row.over_torchrl_without_vmap:.2f}"}),
        "x plain": lambda row: f"{row.over_plain:.2f}",
        **({"x jax": lambda row: f"{row.over_jax:.2f}"} if with_jax else {}),
        **({"roof": lambda row: f"{row.roofline_share:.0%}"} if on_cuda else {}),
    }
    for column in columns:
        made.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        made.add_row(*(cell(row) for cell in columns.values()))
    made.caption = (
        f"+-: the distance of the quartiles{'. beside: processes that never sleep' if beside else ''}.\n"
        "steps/s: every seed's. x floor: time over S times one seed's products.\n"
        "x torchrl, x plain: how many times faster per seed than torchrl's CQLLoss as\n"
        "it comes (no vmap: with deactivate_vmap) and than a plain eager step; x jax:\n"
        "than JAX's jitted step of all seeds, where JAX is installed. Batch 256 and\n"
        "N = 10; 128x2, as in the budget quick, batch 128 and N = 4."
    )
    return made


def write(parts: Mapping[str, Any], folder: Path, device: torch.device) -> Path:
    """File what was measured with what it was measured on.

    Raises:
        ConfigError: the folder cannot be written.
    """
    origin = provenance.collect(*device_facts(str(device)))
    content: dict[str, Any] = {
        "schema_version": 1,
        **parts,
        "matmul_precision": torch.get_float32_matmul_precision(),
        "created_at": origin.created_at,
        "versions": origin.versions,
        "git": structs.asdict(origin.git),
        "machine": structs.asdict(origin.machine),
    }
    path = folder / "speed" / f"{origin.created_at.replace(':', '')}.json"
    try:
        atomic.create(path, (json.dumps(content, indent=1) + "\n").encode())
    except OSError as error:
        raise ConfigError(f"The results folder {folder} cannot be written: {error.strerror}.") from error
    return path
