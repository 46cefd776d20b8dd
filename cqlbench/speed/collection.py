"""How fast online experience is collected, beside the rate of the simulator that is told what to do."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf

from cqlbench.environments import EnvironmentSpec, EnvpoolEnvironments, choose_backend
from cqlbench.errors import UserError
from cqlbench.paths import benchmarks_dir
from cqlbench.seeding import Purpose, environment_seeds
from cqlbench.speed.measure import Contestant, Timing, time_in_turns
from cqlbench.speed.workload import ACTION_SIZE, OBSERVATION_SIZE, Workload
from cqlbench.training.seed_collector import SeedCollector

_FRAMES = 60
"""Frames per seed that count as one step of a contestant."""


@dataclass(frozen=True)
class CollectionRate:
    """One environment per seed, all seeds in step, with the policy of an untrained actor.

    Attributes:
        environment: its id.
        seeds: S.
        frames_per_second: transitions of all seeds, collected.
        raw_frames_per_second: transitions of envpool's own loop, told the same actions.
        over_raw: the first over the second, by medians of turns.
        policy_share: of the time of a collected frame, what its actions alone take where nothing else runs.
        reset_share: of the raw steps, how many only began an episode, and are no transitions.
        seconds: `ours`, `raw` and `policy`, for one frame of each seed.
    """

    environment: str
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
    engine = Workload(seeds, tuple(settings.hidden)).engine(device)
    box = np.ones(ACTION_SIZE, np.float32)
    collector = SeedCollector(
        spec,
        range(seeds),
        engine.sample_actions,
        -box,
        box,
        frames_per_batch=_FRAMES,
        backend="envpool",
        observation_size=OBSERVATION_SIZE,
        device=device,
    )
    actions = collector.collect().actions.transpose(0, 1).numpy().astype(np.float64)
    raw = _RawPool(spec, seeds, actions)
    observations = torch.zeros(seeds, 1, OBSERVATION_SIZE)
    normals = torch.zeros(seeds, 1, ACTION_SIZE, device=device)

    def collect() -> float:
        collector.collect()
        return 1.0

    def act() -> float:
        for _ in range(_FRAMES):
            engine.sample_actions(observations, normals).numpy(force=True)
        return 1.0

    try:
        plays = {"ours": collect, "raw": raw.play, "policy": act}
        contestants = {name: _contestant(play) for name, play in plays.items()}
        # As on a CPU everywhere: whoever plays waits for the device at every frame.
        seconds = time_in_turns(contestants, rounds, torch.device("cpu"))
    finally:
        collector.close()
        raw.close()
    ours = seconds["ours"].median
    return CollectionRate(
        environment=spec.id,
        seeds=seeds,
        frames_per_second=seeds / ours,
        raw_frames_per_second=seeds / seconds["raw"].median,
        over_raw=seconds["raw"].median / ours,
        policy_share=seconds["policy"].median / ours,
        reset_share=1 - raw.useful / raw.played,
        seconds=seconds,
    )


def _contestant(play: Callable[[], float]) -> Contestant:
    """`play` takes `_FRAMES` steps, and says which part of them were frames."""

    def run(count: int) -> float:
        start, useful = time.perf_counter(), 0.0
        for _ in range(count):
            useful += play()
        return (time.perf_counter() - start) / _FRAMES * count / useful

    return run


class _RawPool:
    """envpool's interface, as it comes."""

    def __init__(self, spec: EnvironmentSpec, seeds: int, actions: NDArray[np.float64]) -> None:
        every = [environment_seeds(seed, Purpose.EVALUATION, 1)[0] for seed in range(seeds)]
        self._environments = EnvpoolEnvironments(spec, every, threads=0, discrete=False)
        self._environments.reset()
        self._actions, self._ended = actions, np.zeros(seeds, np.bool_)
        self.played = self.useful = 0

    def play(self) -> float:
        """Take the known actions; in place of a step, an ended environment begins its next episode."""
        useful = 0
        for actions in self._actions:
            useful += len(self._ended) - int(self._ended.sum())
            _, _, terminated, truncated, _ = self._environments.pool.step(actions)
            self._ended = terminated | truncated
        self.useful += useful
        played = len(self._actions) * len(self._ended)
        self.played += played
        return useful / played

    def close(self) -> None:
        """Free the threads."""
        self._environments.close()
