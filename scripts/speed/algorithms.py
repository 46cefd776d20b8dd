"""A row for every algorithm: its step against its own matrix products, and against an eager step."""

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from cqlbench.algorithms import ALGORITHMS
from cqlbench.core.allocator import keep_freed_memory
from cqlbench.core.errors import ConfigError
from speed.baselines import steps_of
from speed.eager import eager, of_modules
from speed.floor import Choice, Floor
from speed.measure import Contestant, Timing, steps_per_turn, time_in_turns
from speed.recorded import period, recorded_products
from speed.remote import Clock, Remote, timed
from speed.workload import engine_of

SEED_BATCHES = (1, 10)
_BATCH_SIZES = {"dt": 64}
"""Algorithm -> batch size in place of the default. Of dt's 4,096, a seed's backward pass keeps 8 GB."""
_TURN_SECONDS = 0.1


@dataclass(frozen=True)
class AlgorithmRow:
    """One algorithm's result, at `config_of`'s settings. Ratios compare medians of steps timed in turns.

    Attributes:
        algorithm: its name.
        seeds: S.
        batch_size: B.
        seed_steps_per_second: gradient steps of all seeds per second.
        over_floor: the step's time over the time of its own products by the fastest kernels.
        over_eager: the eager step's time per seed over ours per seed: how many times faster we are. It runs
            in a process of its own, with the C allocator as it comes.
        eager: what the eager step is: `modules`, or the algorithm's own `losses` (see `speed.eager`).
        gflops: of the matrix products in the step, per second of it.
        seconds: contestant -> timing of a step.
        kernels: of the floor.
    """

    algorithm: str
    seeds: int
    batch_size: int
    seed_steps_per_second: float
    over_floor: float
    over_eager: float
    eager: str
    gflops: float
    seconds: dict[str, Timing]
    kernels: list[Choice]


def names_of(words: str) -> list[str]:
    """The algorithms that `words` names, with commas, or `all`.

    Raises:
        ConfigError: one is not known.
    """
    if words == "all":
        return list(ALGORITHMS)
    names = words.split(",")
    for name in names:
        if name not in ALGORITHMS:
            raise ConfigError(f"unknown algorithm '{name}' (choose from {', '.join(ALGORITHMS)})")
    return names


def config_of(name: str) -> Any:
    """The settings that an algorithm is measured with."""
    config: Any = ALGORITHMS[name][0]()
    return replace(config, batch_size=_BATCH_SIZES.get(name, config.batch_size))


def measure_algorithms(
    names: list[str], device: torch.device, rounds: int, console: Console, clock: Clock = time.perf_counter
) -> list[AlgorithmRow]:
    """Time every algorithm with each number of seeds; prints a line as each is done.

    Args:
        names: of the algorithms.
        device: where.
        rounds: how often each contestant is timed.
        console: what is printed on.
        clock: `time.process_time` leaves out what other processes take of a core, with one thread.
    """
    if device.type == "cpu":
        keep_freed_memory()
    rows = []
    for name in names:
        for seeds in SEED_BATCHES:
            row = measure_algorithm(config_of(name), seeds, device, rounds, clock)
            console.print(
                f"{name:8} S={seeds:<2}  {row.seconds['ours'].median * 1e3:8.2f} ms/step"
                f"  {row.over_floor:5.2f} x floor  {row.over_eager:5.2f} x eager {row.eager}"
            )
            rows.append(row)
    return rows


def measure_algorithm(
    config: Any, seeds: int, device: torch.device, rounds: int, clock: Clock = time.perf_counter
) -> AlgorithmRow:
    """Time one algorithm against its products and the eager step, in turns."""
    engine = engine_of(config, seeds, device)
    every, products = period(engine), recorded_products(engine)
    run, multiply = steps_of(engine), Floor(products, device, clock)

    def ours(count: int) -> float:
        return timed(partial(run, count), 1, device, clock)

    def floor(count: int) -> float:
        return timed(multiply, count // every, device, clock)

    with Remote(partial(eager, config), device, clock) as remote:
        count = steps_per_turn(ours, device, _TURN_SECONDS, every)
        contestants: dict[str, Contestant] = {"ours": ours, "floor": floor, "eager": remote.steps}
        seconds = time_in_turns(contestants, rounds, device, count)
    duration = seconds["ours"].median
    return AlgorithmRow(
        algorithm=config.name,
        seeds=seeds,
        batch_size=config.batch_size,
        seed_steps_per_second=seeds / duration,
        over_floor=duration / seconds["floor"].median,
        over_eager=seconds["eager"].median * seeds / duration,
        eager="modules" if of_modules(config.name) else "losses",
        gflops=sum(product.flops for product in products) / every / duration / 1e9,
        seconds=seconds,
        kernels=multiply.choices,
    )


def algorithms_table(rows: list[AlgorithmRow]) -> Table:
    """The rows as a terminal table."""
    title = "One gradient step of each algorithm on Hopper's dimensions"
    made = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    made.add_column("Algorithm", no_wrap=True)
    for column in ("S", "ms", "steps/s", "x floor", "x eager", "GFLOP/s"):
        made.add_column(column, justify="right", no_wrap=True)
    made.add_column("eager", no_wrap=True)
    for row in rows:
        made.add_row(
            row.algorithm,
            str(row.seeds),
            f"{row.seconds['ours'].median * 1e3:.2f}",
            f"{row.seed_steps_per_second:.0f}",
            f"{row.over_floor:.2f}",
            f"{row.over_eager:.2f}",
            f"{row.gflops:.0f}",
            row.eager,
        )
    smaller = ", ".join(f"{name} (batches of {size})" for name, size in _BATCH_SIZES.items())
    made.caption = (
        "steps/s: every seed's. x floor: time over that of the step's own products.\n"
        "x eager: how many times faster per seed than an eager step of one seed, of\n"
        "plain modules or of the algorithm's own losses. Settings are the defaults,\n"
        f"but for {smaller}."
    )
    return made
