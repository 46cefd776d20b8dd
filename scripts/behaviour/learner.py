"""Soft actor-critic with the project's own step: how the embedded datasets' behaviour policies were trained.

It takes the benchmark's own gradient steps, on data from the environment.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec.structs import asdict
from numpy.typing import NDArray

from behaviour.recipe import Recipe
from cqlbench.algorithms.algorithm import Batch, Spaces
from cqlbench.algorithms.networks import ActionBox, Params, actor_distribution
from cqlbench.algorithms.sac import SAC
from cqlbench.algorithms.step import TrainState, initial_state, make_update
from cqlbench.core.allocator import keep_freed_memory
from cqlbench.core.errors import ConfigError
from cqlbench.core.seeding import Purpose, environment_seeds, numpy_generator, torch_generator
from cqlbench.engine.checkpoint import load_fitting, save
from cqlbench.engine.streams import NoiseStream
from cqlbench.environments.make import VectorEnvironment, make_environments

_SAVE_SECONDS = 300


@dataclass(frozen=True)
class Snapshot:
    """The actor after `steps` environment steps: `{layer}.weight` `[in, out]`, `{layer}.bias` `[out]`."""

    steps: int
    actor: dict[str, NDArray[np.float32]]
    action_low: NDArray[np.float32]
    action_high: NDArray[np.float32]


class _Replay:
    """The last `capacity` rows seen, on the CPU."""

    def __init__(self, capacity: int, observation_size: int, action_size: int) -> None:
        self._columns = [
            torch.zeros(capacity, observation_size),
            torch.zeros(capacity, action_size),
            torch.zeros(capacity),
            torch.zeros(capacity, observation_size),
            torch.zeros(capacity),
        ]
        self._written = 0

    def add(self, rows: list[NDArray[np.floating]]) -> None:
        count = len(rows[0])
        where = torch.arange(self._written, self._written + count) % len(self._columns[0])
        for column, values in zip(self._columns, rows, strict=True):
            column[where] = torch.from_numpy(np.asarray(values, np.float32))
        self._written += count

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        rows = min(self._written, len(self._columns[0]))
        indices = torch.randint(rows, (batch_size,), generator=generator)
        observations, actions, rewards, following, terminated = (
            column[indices].unsqueeze(0) for column in self._columns
        )
        return Batch(observations, actions, rewards, following, terminated)

    def state_dict(self) -> dict[str, Any]:
        return {"written": self._written, "columns": [column[: self._written] for column in self._columns]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._written = state["written"]
        for column, rows in zip(self._columns, state["columns"], strict=True):
            column[: len(rows)] = rows


def train(recipe: Recipe, saved: Path | None = None) -> Iterator[Snapshot]:
    """Train one policy; yields it untrained, then every `evaluation_interval` environment steps.

    The caller decides when to stop reading; at most `max_steps` environment steps are taken.

    Args:
        recipe: how.
        saved: a file to keep the state of training in, every five minutes; where it is there already,
            training goes on from it, exactly, after yielding what was yielded before.

    Raises:
        CheckpointError: the file cannot be written or read, or is of another recipe or version of torch.
    """
    keep_freed_memory()
    learner = _Learner(recipe)
    facts = {"recipe": asdict(recipe), "torch": str(torch.__version__)}
    if saved is not None and saved.exists():
        learner.load_state_dict(load_fitting(saved, facts))
        yield from learner.snapshots[:-1]
    next_save = time.perf_counter() + _SAVE_SECONDS
    while True:
        yield learner.snapshots[-1]
        if learner.steps >= recipe.max_steps:
            return
        learner.segment()
        if saved is not None and time.perf_counter() >= next_save:
            save(saved, learner.state_dict(), facts)
            next_save = time.perf_counter() + _SAVE_SECONDS


class _Learner:
    """Trains in segments of `evaluation_interval` environment steps.

    Each segment has environments and random streams of its own, functions of the seed and its number, so that
    no simulator's or generator's state needs to be saved.

    Attributes:
        steps: environment steps taken.
        snapshots: the policy untrained, and after each segment.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        with closing(self._environments(0)) as environments:
            self._low, self._high = environments.action_low, environments.action_high
            observation_size = environments.observation_size
        self._box = ActionBox.from_bounds(torch.from_numpy(self._low), torch.from_numpy(self._high))
        algorithm = SAC(recipe.algorithm(), Spaces(observation_size, self._box))
        self._state = initial_state(algorithm, [recipe.seed])
        self._update = make_update(algorithm)
        self._noise = NoiseStream([recipe.seed], algorithm.draws(), torch.device("cpu"))
        self._replay = _Replay(recipe.max_steps, observation_size, len(self._low))
        self._gradient_steps = self.steps = 0
        self.snapshots = [self._snapshot()]

    def segment(self) -> None:
        """Take the next segment's environment steps, and as many gradient steps."""
        recipe, number = self._recipe, len(self.snapshots)
        batches = torch_generator(recipe.seed, Purpose.BATCHES, number)
        exploration = numpy_generator(recipe.seed, Purpose.ENVIRONMENT, 1, number)
        count = recipe.environments
        with closing(self._environments(number)) as environments:
            observations, ended = environments.reset(), np.zeros(count, np.bool_)
            end = min(self.steps + recipe.evaluation_interval, recipe.max_steps)
            while self.steps < end:
                if self.steps < recipe.random_steps:
                    uniform = exploration.uniform(self._low, self._high, (count, len(self._low)))
                    actions = uniform.astype(np.float32)
                else:
                    actor = self._state.parameters["actor"]
                    actions = _act(actor, observations, self._box, exploration)
                step = environments.step(actions)
                # A step after an episode's end only resets: its action was ignored, so it is no transition.
                real = ~ended
                self._replay.add(
                    [
                        observations[real],
                        actions[real],
                        step.rewards[real] * recipe.reward_scale,
                        step.observations[real],
                        step.terminated[real].astype(np.float32),
                    ]
                )
                observations, ended = step.observations, step.terminated | step.truncated
                if self.steps >= recipe.random_steps:
                    self._gradient_step(batches, count)
                self.steps += count
        self.snapshots.append(self._snapshot())

    def state_dict(self) -> dict[str, Any]:
        """What the segments to come, and the snapshots so far, depend on."""
        return {
            "train_state": self._state.state_dict(),
            "replay": self._replay.state_dict(),
            "steps": self.steps,
            "gradient_steps": self._gradient_steps,
            "snapshots": [
                (each.steps, {name: torch.from_numpy(array) for name, array in each.actor.items()})
                for each in self.snapshots
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self._state.copy_(TrainState(**state["train_state"]))
        self._replay.load_state_dict(state["replay"])
        self.steps, self._gradient_steps = state["steps"], state["gradient_steps"]
        self.snapshots = [
            Snapshot(steps, {name: tensor.numpy() for name, tensor in actor.items()}, self._low, self._high)
            for steps, actor in state["snapshots"]
        ]

    def _environments(self, segment: int) -> VectorEnvironment:
        recipe = self._recipe
        seeds = environment_seeds(recipe.seed, Purpose.ENVIRONMENT, recipe.environments, segment)
        return make_environments(recipe.spec(), seeds)

    def _gradient_step(self, batches: torch.Generator, count: int) -> None:
        for _ in range(count):
            batch = self._replay.sample(self._recipe.batch_size, batches)
            step = self._gradient_steps
            self._state, _ = self._update(self._state, batch, self._noise(step), step)
            self._gradient_steps += 1

    def _snapshot(self) -> Snapshot:
        actor = {
            name: tensor[0]
            .reshape(tensor.shape[-1] if name.endswith("bias") else tensor.shape[1:])
            .clone()
            .numpy()
            for name, tensor in self._state.parameters["actor"].items()
        }
        return Snapshot(self.steps, actor, self._low, self._high)


def _act(
    actor: Params, observations: NDArray[np.float64], box: ActionBox, generator: np.random.Generator
) -> NDArray[np.float32]:
    with torch.no_grad():
        policy = actor_distribution(actor, torch.from_numpy(observations).float().unsqueeze(0), box)
        normals = generator.standard_normal(policy.mean.shape, np.float32)
        actions, _ = policy.sample(torch.from_numpy(normals))
    taken: NDArray[np.float32] = actions.squeeze(0).numpy()
    return taken


Accept = Callable[[Snapshot], bool]


def train_until(recipe: Recipe, accept: Accept, saved: Path | None = None) -> Snapshot:
    """The first snapshot, after the untrained one, that `accept` takes; `saved` as in `train`.

    Raises:
        ConfigError: none was accepted within `max_steps`.
    """
    for snapshot in train(recipe, saved):
        if snapshot.steps and accept(snapshot):
            return snapshot
    raise ConfigError(
        f"No policy reached a score in [{recipe.score_low}, {recipe.score_high}] within"
        f" {recipe.max_steps} steps; raise max_steps or change the seed."
    )
