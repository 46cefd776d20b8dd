"""Environments of envpool, stepped in threads of C++; their states are out of reach."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cqlbench.core.errors import UserError
from cqlbench.core.threads import usable_cores
from cqlbench.environments import d4rl
from cqlbench.environments.spaces import FlatObservations, action_bounds, native_actions
from cqlbench.environments.spec import EnvironmentSpec, Step, quiet_construction, time_limit


class EnvpoolEnvironments:
    """A `VectorEnvironment` by envpool, whose own interface is `pool`.

    D4RL's tasks are envpool's with corrections. envpool does not know of the ends that these add: so an
    episode of these tasks that has ended is reset here.
    """

    backend = "envpool"

    def __init__(self, spec: EnvironmentSpec, seeds: Sequence[int], threads: int, discrete: bool) -> None:
        self._spec, self._threads, self._count = spec, threads or min(len(seeds), usable_cores()), len(seeds)
        self._given_up: list[Any] = []
        self._correction = d4rl.correction(spec.id)
        self._ended = np.zeros(len(seeds), np.bool_)
        self.pool = self._make(seeds)
        with quiet_construction():
            self._space, observations = self.pool.action_space, self.pool.observation_space
        try:
            self.action_low, self.action_high = action_bounds(spec, self._space, discrete)
            self._flat = FlatObservations(spec, observations)
        except UserError:
            self.pool.close()
            raise
        self.observation_size = self._flat.size

    def _make(self, seeds: Sequence[int]) -> Any:
        import envpool

        with quiet_construction():
            return envpool.make(
                d4rl.envpool_id(self._spec.id),
                env_type="gymnasium",
                num_envs=self._count,
                num_threads=self._threads,
                seed=list(seeds),
                **(d4rl.time_limit(self._spec.id) | time_limit(self._spec)),
            )

    def reset(self) -> NDArray[np.float64]:
        """See `VectorEnvironment`."""
        observations, _ = self.pool.reset()
        self._ended[:] = False
        return self._flat(observations)

    def step(self, actions: NDArray[np.float32], where: NDArray[np.bool_] | None = None) -> Step:
        """See `VectorEnvironment`."""
        native = native_actions(actions.astype(np.float64), self._space)
        if where is None and self._correction is None:
            return self._flat_step(self.pool.step(native))
        where = np.ones(self._count, np.bool_) if where is None else where
        step, over = Step.empty(self._count, self.observation_size), where & self._ended
        if over.any():
            step.observations[over] = self.reset_some(over)[over]
        some = np.flatnonzero(where & ~over).astype(np.int32)
        if not len(some):
            return step
        returned = self.pool.step(native[some], some)
        part, rows = self._flat_step(returned), returned[-1]["env_id"]
        step.observations[rows], step.rewards[rows] = part.observations, part.rewards
        step.terminated[rows], step.truncated[rows] = part.terminated, part.truncated
        if self._correction is not None:
            step.rewards[rows] = self._correction.rewards(part.observations, part.rewards)
            step.terminated[rows] |= self._correction.ends(part.observations)
            self._ended[rows] = step.terminated[rows] | step.truncated[rows]
        return step

    def _flat_step(self, returned: Any) -> Step:
        observations, rewards, terminated, truncated, _ = returned
        return Step(
            self._flat(observations),
            np.array(rewards, np.float64),
            np.array(terminated, np.bool_),
            np.array(truncated, np.bool_),
        )

    def reset_some(self, where: NDArray[np.bool_]) -> NDArray[np.float64]:
        """See `VectorEnvironment`."""
        observations, info = self.pool.reset(np.flatnonzero(where).astype(np.int32))
        self._ended &= ~where
        placed = np.zeros((self._count, self.observation_size))
        placed[info["env_id"]] = self._flat(observations)  # in whatever order they came
        return placed

    def interrupted(self) -> tuple[Step, NDArray[np.bool_], NDArray[np.bool_]]:
        """See `VectorEnvironment`."""
        nowhere = np.zeros(self._count, np.bool_)
        return Step.empty(self._count, self.observation_size), nowhere, ~nowhere

    def replace(self, where: NDArray[np.bool_], seeds: Sequence[int]) -> None:
        """See `VectorEnvironment`."""
        # A part of a pool cannot be made anew: there the reset to come, which clears the simulator, must do.
        if where.all():
            self._given_up.append(self.pool)  # what hangs would hang its destructor
            self.pool = self._make(seeds)

    def state(self) -> list[Any] | None:
        """See `VectorEnvironment`."""
        return None

    def set_state(self, state: list[Any]) -> None:
        """See `VectorEnvironment`."""
        del state
        raise UserError(f"envpool cannot set states of '{self._spec.id}'; use the gymnasium backend.")

    def close(self) -> None:
        """See `VectorEnvironment`."""
        self.pool.close()
