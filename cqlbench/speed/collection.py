"""How fast online experience is collected, beside the rate of the simulator that is told what to do."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from omegaconf import OmegaConf

from cqlbench.data.behaviour import BehaviourPolicy
from cqlbench.environments import EnvironmentSpec, EnvpoolEnvironments, choose_backend
from cqlbench.errors import UserError
from cqlbench.paths import benchmarks_dir
from cqlbench.seeding import Purpose, environment_seeds
from cqlbench.speed.measure import Contestant, Timing, steps_timed, time_in_turns
from cqlbench.speed.workload import Workload
from cqlbench.training.engine import Engine
from cqlbench.training.seed_collector import SeedCollector
from cqlbench.training.streams import ExplorationStream

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
    settings = OmegaConf.load(benchmarks_dir() / "speed" / "collection.yaml")
    spec, seeds = EnvironmentSpec(settings.environment), int(settings.seeds)
    try:
        choose_backend(spec, "envpool")
    except UserError:
        return None
    policy = BehaviourPolicy.load(settings.policy)
    engine = played_by(policy, seeds, device)
    collector = SeedCollector(
        spec,
        range(seeds),
        engine.sample_actions,
        policy.action_low,
        policy.action_high,
        frames_per_batch=_FRAMES,
        backend="envpool",
        observation_size=policy.observation_size,
        device=device,
    )
    raw = RawPool(spec, seeds, engine, _FRAMES * steps_timed(rounds))
    observations = torch.zeros(seeds, 1, policy.observation_size)
    normals = torch.zeros(seeds, 1, policy.action_size, device=device)

    def collect() -> float:
        collector.collect()
        return 1.0

    def act() -> float:
        for _ in range(_FRAMES):
            engine.sample_actions(observations, normals).numpy(force=True)
        return 1.0

    try:
        plays = {"ours": collect, "raw": lambda: raw.play(_FRAMES), "policy": act}
        contestants = {name: _contestant(play) for name, play in plays.items()}
        # As on a CPU everywhere: whoever plays waits for the device at every frame.
        seconds = time_in_turns(contestants, rounds, torch.device("cpu"))
    finally:
        collector.close()
        raw.close()
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
    """An engine whose every seed acts as `policy` does."""
    engine = Workload(seeds, tuple(weight.shape[1] for weight in policy.weights[:-1])).engine(device)
    actor = engine.state.parameters["actor"]
    for layer, (weight, bias) in enumerate(zip(policy.weights, policy.biases, strict=True)):
        actor[f"{layer}.weight"].copy_(torch.from_numpy(weight))
        actor[f"{layer}.bias"].copy_(torch.from_numpy(bias))
    return engine


def _contestant(play: Callable[[], float]) -> Contestant:
    """`play` takes `_FRAMES` steps, and says which part of them were frames."""

    def run(count: int) -> float:
        start, useful = time.perf_counter(), 0.0
        for _ in range(count):
            useful += play()
        return (time.perf_counter() - start) / _FRAMES * count / useful

    return run


class RawPool:
    """envpool's own loop: the policy's actions, worked out beforehand, lead through the very same episodes.

    Args:
        spec: the environment.
        seeds: how many environments.
        engine: the policy.
        steps: how many can be played.

    Attributes:
        rewards: `[steps, seeds]`, what the policy got.
        latest: `[seeds]`, the rewards of the last step played.
        played: steps of all environments so far.
        useful: those that were no resets, which envpool does in place of the step after an episode's last.
    """

    def __init__(self, spec: EnvironmentSpec, seeds: int, engine: Engine, steps: int) -> None:
        every = [environment_seeds(seed, Purpose.EVALUATION, 1)[0] for seed in range(seeds)]
        exploration = ExplorationStream(range(seeds), 1, engine.actions.size, engine.device)
        first = EnvpoolEnvironments(spec, every, threads=0, discrete=False)
        self._actions = np.empty((steps, seeds, engine.actions.size))
        self.rewards = np.empty((steps, seeds))
        observations = first.reset()
        for step, actions in enumerate(self._actions):
            seen = torch.from_numpy(observations).unsqueeze(1)
            actions[:] = engine.sample_actions(seen, exploration.normals(step)).squeeze(1).numpy(force=True)
            observations, self.rewards[step], *_ = first.pool.step(actions)
        first.close()
        self._environments = EnvpoolEnvironments(spec, every, threads=0, discrete=False)
        self._environments.reset()
        self._ended, self.latest = np.zeros(seeds, np.bool_), np.zeros(seeds)
        self._step = self.played = self.useful = 0

    def play(self, count: int) -> float:
        """Take the next `count` steps; returns which part of them were no resets."""
        useful = 0
        for actions in self._actions[self._step : self._step + count]:
            useful += len(self._ended) - int(self._ended.sum())
            _, self.latest, terminated, truncated, _ = self._environments.pool.step(actions)
            self._ended = terminated | truncated
        self._step += count
        self.useful += useful
        played = count * len(self._ended)
        self.played += played
        return useful / played

    def close(self) -> None:
        """Free the threads."""
        self._environments.close()
