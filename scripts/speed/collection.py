"""How fast online experience is collected, beside the rate of the simulator that is told what to do."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf

from cqlbench.core.devices import one_thread
from cqlbench.core.errors import ConfigError, UserError
from cqlbench.data.embedded.policy import BehaviourPolicy
from cqlbench.engine.engine import Engine
from cqlbench.engine.online.collected import Collected
from cqlbench.engine.online.collector import SeedCollector, collector_of
from cqlbench.environments.make import EnvironmentSpec, EnvpoolEnvironments, choose_backend
from speed.measure import Contestant, Timing, steps_timed, time_in_turns
from speed.workload import Workload

_FRAMES = 60
"""Frames per seed that count as one step of a contestant."""


@dataclass(frozen=True)
class CollectionRate:
    """One environment per seed, all seeds in step, each with the same trained policy.

    Attributes:
        environment: its id.
        policy: the behaviour policy's name.
        seeds: S.
        frames_per_second: transitions of all seeds, collected.
        raw_frames_per_second: transitions of envpool's own loop, told the same actions.
        over_raw: the first over the second, by medians of turns.
        policy_share: of the time of a collected frame, what its actions alone take where nothing else runs.
        reset_share: of the raw steps, how many only began an episode, and are no transitions.
        seconds: `ours`, `raw` and `policy`, for one frame of each seed.
    """

    environment: str
    policy: str
    seeds: int
    frames_per_second: float
    raw_frames_per_second: float
    over_raw: float
    policy_share: float
    reset_share: float
    seconds: dict[str, Timing]

    def __str__(self) -> str:
        """One line."""
        ours, policy = (self.seconds[name].median * 1e6 for name in ("ours", "policy"))
        return (
            f"Collection: {self.frames_per_second:,.0f} frames/s with {self.seeds} seeds x 1"
            f" {self.environment}, {self.over_raw:.0%} of envpool's {self.raw_frames_per_second:,.0f}"
            f" with the actions known ({ours:.0f} us a step, of which the policy alone {policy:.0f} us)"
        )


def measure_collection(device: torch.device, rounds: int) -> CollectionRate | None:
    """Time collection, envpool's own loop and the policy, in turns; `None` where there is no envpool."""
    settings = OmegaConf.load(Path(__file__).with_name("collection.yaml"))
    spec, seeds = EnvironmentSpec(settings.environment), int(settings.seeds)
    try:
        choose_backend(spec, "envpool")
    except UserError:
        return None
    policy = BehaviourPolicy.load(settings.policy)
    engine = played_by(policy, seeds, device)
    with ExitStack() as stack:
        collector = stack.enter_context(closing(make_collector(spec, engine, _FRAMES)))
        steps = _FRAMES * steps_timed(rounds)
        with closing(make_collector(spec, engine, steps)) as first:
            raw = stack.enter_context(closing(RawPool(spec, first.environment_seeds, first.collect())))
        observations = torch.zeros(seeds, 1, engine.observation_size)
        normals = torch.zeros(seeds, 1, engine.actions.size, device=device)

        def collect() -> float:
            collector.collect()
            return 1.0

        @one_thread()  # as the collector's
        def act() -> float:
            for _ in range(_FRAMES):
                engine.sample_actions(observations, normals).numpy(force=True)
            return 1.0

        plays = {"ours": collect, "raw": lambda: raw.play(_FRAMES), "policy": act}
        contestants = {name: _contestant(play) for name, play in plays.items()}
        # As on a CPU everywhere: whoever plays waits for the device at every frame.
        seconds = time_in_turns(contestants, rounds, torch.device("cpu"))
    ours = seconds["ours"].median
    return CollectionRate(
        environment=spec.id,
        policy=settings.policy,
        seeds=seeds,
        frames_per_second=seeds / ours,
        raw_frames_per_second=seeds / seconds["raw"].median,
        over_raw=seconds["raw"].median / ours,
        policy_share=seconds["policy"].median / ours,
        reset_share=1 - raw.useful / raw.played,
        seconds=seconds,
    )


def played_by(policy: BehaviourPolicy, seeds: int, device: torch.device) -> Engine:
    """An engine whose every seed acts as `policy` does.

    Raises:
        ConfigError: the policy is not of the workload's task.
    """
    engine = Workload(seeds, tuple(weight.shape[1] for weight in policy.weights[:-1])).engine(device)
    sizes = policy.observation_size, policy.action_size
    if sizes != (engine.observation_size, engine.actions.size):
        raise ConfigError(
            f"scripts/speed/collection.yaml names a policy of {sizes[0]} observations and {sizes[1]}"
            f" actions, but Hopper, which is timed, has {engine.observation_size} and {engine.actions.size}."
        )
    actor = engine.state.parameters["actor"]
    for layer, (weight, bias) in enumerate(zip(policy.weights, policy.biases, strict=True)):
        actor[f"{layer}.weight"].copy_(torch.from_numpy(weight))
        actor[f"{layer}.bias"].copy_(torch.from_numpy(bias))
    return engine


def make_collector(spec: EnvironmentSpec, engine: Engine, frames: int) -> SeedCollector:
    """One environment per seed of `engine`, by envpool, `frames` of each at a time."""
    return collector_of(engine, spec, frames_per_batch=frames, backend="envpool")


def _contestant(play: Callable[[], float]) -> Contestant:
    """`play` takes `_FRAMES` steps, and says which part of them were frames."""

    def run(count: int) -> float:
        start, useful = time.perf_counter(), 0.0
        for _ in range(count):
            useful += play()
        return (time.perf_counter() - start) / _FRAMES * count / useful

    return run


class RawPool:
    """envpool's own loop, told the actions of a collector: through the very same episodes.

    Args:
        spec: the environment.
        seeds: of the environments.
        collected: from their beginning on, what a collector has gathered.

    Attributes:
        rewards: `[seeds]`, of the last step played.
        ended: `[seeds]`, whether it ended an episode: the next step is a reset, in which envpool takes no
            action.
        useful: of the steps of all environments so far, those that were no resets.
    """

    def __init__(self, spec: EnvironmentSpec, seeds: Sequence[int], collected: Collected) -> None:
        tracks = zip(collected.actions.numpy(), collected.ended.numpy(), strict=True)
        told = [np.insert(actions, np.flatnonzero(ended) + 1, 0.0, axis=0) for actions, ended in tracks]
        steps = collected.actions.shape[1]
        self._actions = np.stack([actions[:steps] for actions in told], axis=1).astype(np.float64)
        self._environments = EnvpoolEnvironments(spec, seeds, threads=0, discrete=False)
        self._environments.reset()
        self.rewards, self.ended = np.zeros(len(seeds)), np.zeros(len(seeds), np.bool_)
        self._step = self.useful = 0

    @property
    def played(self) -> int:
        """Steps of all environments so far."""
        return self._step * len(self.ended)

    def play(self, count: int) -> float:
        """Take the next `count` steps; returns which part of them were no resets.

        Raises:
            IndexError: no action is known for the last of them.
        """
        useful = 0
        for step in range(self._step, self._step + count):
            useful += len(self.ended) - int(self.ended.sum())
            _, self.rewards, terminated, truncated, _ = self._environments.pool.step(self._actions[step])
            self.ended = terminated | truncated
        self._step += count
        self.useful += useful
        return useful / (count * len(self.ended))

    def close(self) -> None:
        """Free the threads."""
        self._environments.close()
