"""Environments of gymnasium, stepped one by one, whose simulators can be saved, replaced and drawn."""

import importlib
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator
from numpy.typing import NDArray

from cqlbench.core.errors import UserError
from cqlbench.environments.simulator_state import get_state, set_state
from cqlbench.environments.spaces import FlatObservations, action_bounds, native_actions, unmade
from cqlbench.environments.spec import EnvironmentSpec, Step, quiet_construction, remove_leftovers, time_limit


def make(spec: EnvironmentSpec) -> gymnasium.Env[Any, Any]:
    """One environment, not yet reset.

    Raises:
        UserError: it cannot be made.
    """
    try:
        with quiet_construction():
            if spec.module:
                importlib.import_module(spec.module)
            made = gymnasium.make(spec.id, disable_env_checker=True, **time_limit(spec), **spec.kwargs)
            for wrapper in spec.wrappers:
                wrap: Any = load_env_creator(wrapper["entry_point"])
                made = wrap(made, **wrapper["kwargs"])
    except Exception as error:
        raise UserError(unmade(spec, error)) from error
    remove_leftovers(made)
    return made


class GymnasiumEnvironments:
    """A `VectorEnvironment` by gymnasium.

    Not its `SyncVectorEnv`, which steps all or none, and does not say which environment failed.
    """

    backend = "gymnasium"

    def __init__(self, spec: EnvironmentSpec, seeds: Sequence[int], discrete: bool) -> None:
        self._spec = spec
        self._environments = [make(spec) for _ in seeds]
        # Seeding again would replay the first episodes, which envpool's `reset` does not do.
        self._unused_seeds: list[int | None] = list(seeds)
        self._ended = np.zeros(len(seeds), np.bool_)
        try:
            self._space = self._environments[0].action_space
            self.action_low, self.action_high = action_bounds(spec, self._space, discrete)
            self._flat = FlatObservations(spec, self._environments[0].observation_space)
        except UserError:
            self.close()
            raise
        self.observation_size = self._flat.size
        self._round = _Round(len(seeds), self.observation_size)

    @property
    def frames_per_second(self) -> int | None:
        """The rate at which `frame` is meant to be shown, if the environment says so."""
        rate: int | None = self._environments[0].metadata.get("render_fps")
        return rate

    def frame(self) -> NDArray[np.uint8]:
        """A picture of the first environment, `[height, width, 3]`; needs the `render_mode` `rgb_array`."""
        return np.asarray(self._environments[0].render(), np.uint8)

    def reset(self) -> NDArray[np.float64]:
        """See `VectorEnvironment`."""
        return self.reset_some(np.ones(len(self._environments), np.bool_))

    def reset_some(self, where: NDArray[np.bool_]) -> NDArray[np.float64]:
        """See `VectorEnvironment`."""
        return self._go_round(np.flatnonzero(where), self._begin).observations

    def step(self, actions: NDArray[np.float32], where: NDArray[np.bool_] | None = None) -> Step:
        """See `VectorEnvironment`."""
        native = native_actions(actions, self._space)

        def step(index: int) -> _Outcome:
            if self._ended[index]:
                return self._begin(index)
            observation, reward, terminated, truncated, _ = self._environments[index].step(native[index])
            return self._flat.one(observation), float(reward), bool(terminated), bool(truncated)

        return self._go_round(range(len(native)) if where is None else np.flatnonzero(where), step)

    def _begin(self, index: int) -> "_Outcome":
        observation, _ = self._environments[index].reset(seed=self._unused_seeds[index])
        return self._flat.one(observation), 0.0, False, False

    def _go_round(self, indices: Iterable[int], visit: Callable[[int], "_Outcome"]) -> Step:
        # A round that was given up may wake later, in a thread of its own: it must find nothing to write to.
        current = self._round = _Round(len(self._environments), self.observation_size)
        for index in indices:
            with current.lock:
                current.enter(index)
            outcome = visit(index)
            with current.lock:
                current.record(index, outcome)
                self._unused_seeds[index] = None
                self._ended[index] = outcome[2] or outcome[3]
        current.position = None
        return current.step

    def interrupted(self) -> tuple[Step, NDArray[np.bool_], NDArray[np.bool_]]:
        """See `VectorEnvironment`."""
        with self._round.lock:
            position = self._round.give_up()
        broken = np.zeros(len(self._environments), np.bool_)
        if position is not None:
            broken[position] = True
        return self._round.step, self._round.finished & ~broken, broken

    def replace(self, where: NDArray[np.bool_], seeds: Sequence[int]) -> None:
        """See `VectorEnvironment`."""
        for index in np.flatnonzero(where).tolist():
            self._environments[index] = make(self._spec)  # the old one may hang when it is closed, too
            self._unused_seeds[index], self._ended[index] = seeds[index], False

    def state(self) -> list[Any] | None:
        """See `VectorEnvironment`."""
        states = [get_state(environment) for environment in self._environments]
        if any(state is None for state in states):
            return None
        return [[bool(ended), state] for ended, state in zip(self._ended, states, strict=True)]

    def set_state(self, state: list[Any]) -> None:
        """See `VectorEnvironment`."""
        try:
            for index, (environment, (ended, each)) in enumerate(zip(self._environments, state, strict=True)):
                set_state(environment, each)
                self._unused_seeds[index], self._ended[index] = None, ended
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"This state is not one of {len(self._environments)} environments '{self._spec.id}'"
                f" ({error}); take the one of the run that is to go on."
            ) from error

    def close(self) -> None:
        """See `VectorEnvironment`."""
        for environment in self._environments:
            environment.close()


_Outcome = tuple[NDArray[np.float64], float, bool, bool]


class _GivenUpError(Exception):
    """Ends the thread of a round that nobody waits for."""


class _Round:
    """One visit to some of the environments, as far as it has come; every method is called under `lock`."""

    def __init__(self, environments: int, observation_size: int) -> None:
        self.step = Step.empty(environments, observation_size)
        self.finished = np.zeros(environments, np.bool_)
        self.position: int | None = None
        self.lock = threading.Lock()
        self._given_up = False

    def enter(self, index: int) -> None:
        """Turn to the environment `index`."""
        self._go_on()
        self.position = index

    def record(self, index: int, outcome: _Outcome) -> None:
        """Keep what the environment `index` returned."""
        self._go_on()
        step = self.step
        step.observations[index], step.rewards[index], step.terminated[index], step.truncated[index] = outcome
        self.finished[index] = True

    def give_up(self) -> int | None:
        """Stop at the environment it is at."""
        self._given_up = True
        return self.position

    def _go_on(self) -> None:
        if self._given_up:
            raise _GivenUpError
