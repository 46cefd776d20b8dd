"""What a run keeps of its share of the cores beside processes that never sleep: its own children, here."""

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from cqlbench.algorithms.algorithm import AlgorithmConfig
from cqlbench.algorithms.sac import SACConfig
from cqlbench.algorithms.td3_bc import TD3BCConfig
from cqlbench.core.allocator import keep_freed_memory
from cqlbench.core.devices import on_threads
from cqlbench.core.errors import UserError
from cqlbench.data.embedded.policy import BehaviourPolicy
from cqlbench.environments.make import EnvironmentSpec, choose_backend
from cqlbench.evaluation.rollout import rollout
from speed.baselines import steps_of
from speed.collection import make_collector, played_by
from speed.spinning import spinning
from speed.workload import Workload, engine_of

_QUICK = [128, 128]
TRAININGS: dict[str, tuple[AlgorithmConfig, int]] = {
    "cql quick, S = 3": (Workload(3, (128, 128), batch_size=128, proposals=4).config(), 3),
    "cql quick, S = 10": (Workload(10, (128, 128), batch_size=128, proposals=4).config(), 10),
    "cql 256x3, S = 4": (Workload(4, (256, 256, 256)).config(), 4),
    "sac quick, S = 4": (SACConfig(actor_hidden=_QUICK, critic_hidden=_QUICK, batch_size=128), 4),
    "td3_bc quick, S = 10": (TD3BCConfig(hidden=_QUICK, batch_size=128), 10),
}
"""Name -> what is trained, and S. The quick budget's sizes, and CORL's."""

_CPU = torch.device("cpu")
_TURN_SECONDS = 1.0
_SEEDS, _EPISODES, _FRAMES = 3, 20, 60

Play = Callable[[int], None]
"""Does so many steps of something."""


@dataclass(frozen=True)
class Activity:
    """Something that a run does.

    Attributes:
        name: in the table.
        size: what a step counts for: seeds, or frames of all environments.
        play: on as many threads as torch has.
    """

    name: str
    size: int
    play: Play


@dataclass(frozen=True)
class Turns:
    """All turns of an activity in one situation, added up.

    Attributes:
        steps: taken.
        seconds: that passed.
        own: seconds of all cores that this process computed.
        others: seconds of all cores that the processes beside it did.
    """

    steps: int = 0
    seconds: float = 0.0
    own: float = 0.0
    others: float = 0.0

    def __add__(self, other: "Turns") -> "Turns":
        """Both."""
        mine, theirs = vars(self).values(), vars(other).values()
        return Turns(*(one + more for one, more in zip(mine, theirs, strict=True)))


@dataclass(frozen=True)
class BusyRow:
    """What one activity keeps.

    Attributes:
        name: the activity.
        one_thread: steps per second (each seed's, each environment's) on one thread, nothing beside it.
        rates: the same on all threads, beside 0, 1, … processes.
        kept: of what its fair share of the cores would compute, beside 1, 2, … processes.
    """

    name: str
    one_thread: float
    rates: list[float]
    kept: list[float]


def kept(alone: Turns, single: Turns, beside: Turns, threads: int, processes: int) -> float:
    """The speed beside `processes`, over what the scheduler's fair share of the cores allows.

    A thread's fair share is as large as that of each process beside it. What a step needs is measured on one
    thread (`single`); what cannot use its share without others (`alone`) need not use it beside them.
    """
    cores = (beside.own + beside.others) / beside.seconds
    fair = cores * threads / (threads + processes)
    possible = min(alone.steps / alone.seconds, fair * single.steps / single.own)
    return beside.steps / beside.seconds / possible


def measure_busy(most: int, rounds: int, console: Console) -> list[BusyRow]:
    """Time training, evaluation and collection in turns beside none to `most` processes.

    Training is timed on as many threads as torch has, and on one. Simulators have a thread per core.
    """
    keep_freed_memory()
    rows = []
    with ExitStack() as stack:
        for activity in (*_trainings(), *_plays(stack)):
            rows.append(measure_activity(activity, most, rounds))
            console.print(
                f"{activity.name}: {rows[-1].rates[0]:,.0f} steps/s, {_percent(rows[-1].kept)} kept"
            )
    return rows


def measure_activity(activity: Activity, most: int, rounds: int) -> BusyRow:
    """One activity in all situations, in turns."""
    threads = torch.get_num_threads()
    activity.play(2)
    start = time.perf_counter()
    activity.play(2)
    count = 2 * max(1, round(_TURN_SECONDS / (time.perf_counter() - start)))
    single, turns = Turns(), [Turns() for _ in range(most + 1)]
    for _ in range(rounds):
        with on_threads(1):
            single += turn(activity.play, count, 0)
        turns = [before + turn(activity.play, count, beside) for beside, before in enumerate(turns)]
    return BusyRow(
        name=activity.name,
        one_thread=activity.size * single.steps / single.seconds,
        rates=[activity.size * each.steps / each.seconds for each in turns],
        kept=[kept(turns[0], single, turns[beside], threads, beside) for beside in range(1, most + 1)],
    )


def turn(play: Play, count: int, beside: int) -> Turns:
    """`count` steps beside so many processes that never sleep, and end with them."""
    before = _computed_by_children()
    with spinning(beside):
        seconds, own = time.perf_counter(), time.process_time()
        play(count)
        seconds, own = time.perf_counter() - seconds, time.process_time() - own
    return Turns(count, seconds, own, _computed_by_children() - before)


def _computed_by_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _trainings() -> Iterator[Activity]:
    for name, (config, seeds) in TRAININGS.items():
        yield Activity(name, seeds, steps_of(engine_of(config, seeds, _CPU)))


def _plays(stack: ExitStack) -> Iterator[Activity]:
    """Evaluation and collection as `collection.yaml` says; none where envpool is missing."""
    settings = OmegaConf.load(Path(__file__).with_name("collection.yaml"))
    spec = EnvironmentSpec(settings.environment, max_episode_steps=_FRAMES)
    try:
        choose_backend(spec, "envpool")
    except UserError:
        return
    policy = BehaviourPolicy.load(settings.policy)
    few, many = (played_by(policy, seeds, _CPU) for seeds in (_SEEDS, int(settings.seeds)))

    def act(observations: NDArray[np.float64]) -> NDArray[np.float32]:
        actions: NDArray[np.float32] = few.act(torch.from_numpy(observations)).numpy()
        return actions

    def evaluate() -> None:
        rollout(act, spec, few.seeds, _EPISODES)

    yield Activity(f"evaluation, S = {_SEEDS}", _SEEDS * _EPISODES * _FRAMES, partial(_repeat, evaluate))
    collector = stack.enter_context(closing(make_collector(spec, many, _FRAMES)))
    frames = len(many.seeds) * _FRAMES
    yield Activity(f"collection, S = {len(many.seeds)}", frames, partial(_repeat, collector.collect))


def _repeat(step: Callable[[], object], count: int) -> None:
    for _ in range(count):
        step()


def _percent(shares: list[float]) -> str:
    return " and ".join(f"{share:.0%}" for share in shares)


def table(rows: list[BusyRow]) -> Table:
    """The rows as a terminal table."""
    most = len(rows[0].kept)
    title = f"Beside processes that never sleep, {torch.get_num_threads()} threads, steps/s"
    made = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    made.add_column("what")
    beside = [column for count in range(1, most + 1) for column in (f"beside {count}", "kept")]
    for column in ("one thread", "alone", *beside):
        made.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        pairs = [
            (f"{rate:,.0f}", f"{share:.0%}") for rate, share in zip(row.rates[1:], row.kept, strict=True)
        ]
        cells = [cell for pair in pairs for cell in pair]
        made.add_row(row.name, f"{row.one_thread:,.0f}", f"{row.rates[0]:,.0f}", *cells)
    made.caption = "steps: every seed's, every environment's. kept: of its fair share of the cores."
    return made
