"""Vectorised MuJoCo (and other) environments: envpool where it has the environment, gymnasium elsewhere.

The two backends run the same equations but draw different initial states from the same seed, and envpool
carries a MuJoCo of its own. From one state with the same actions Hopper, Walker2d and HalfCheetah agree to
rounding error at first; where the dynamics are chaotic (HalfCheetah) rounding alone parts them within
200 steps. Episodes are therefore reproducible per backend and version, which `environment_versions` records.
"""

import importlib
import importlib.metadata
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cqlbench.core.errors import UserError
from cqlbench.core.threads import usable_cores
from cqlbench.environments.gymnasium_backend import GymnasiumEnvironments
from cqlbench.environments.spaces import FlatObservations, action_bounds, native_actions
from cqlbench.environments.spec import (
    EnvironmentSpec,
    Step,
    VectorEnvironment,
    quiet_construction,
    time_limit,
)

__all__ = [
    "EnvironmentSpec",
    "EnvpoolEnvironments",
    "GymnasiumEnvironments",
    "Step",
    "VectorEnvironment",
    "choose_backend",
    "environment_versions",
    "make_environments",
    "why_unplayable",
]


def make_environments(
    spec: EnvironmentSpec,
    seeds: Sequence[int],
    backend: str = "auto",
    threads: int = 0,
    *,
    discrete: bool = False,
) -> VectorEnvironment:
    """One environment per seed; which seeds stand beside it changes nothing for an environment.

    Args:
        spec: the environment.
        seeds: one 31-bit seed per environment, at least one.
        backend: `auto` prefers envpool; `envpool` and `gymnasium` insist.
        threads: envpool's worker threads; 0 takes one per usable core. They change no number.
        discrete: whether its actions must be discrete or a box.

    Raises:
        UserError: no backend has the environment, or its spaces are others.
    """
    if choose_backend(spec, backend) == "envpool":
        return EnvpoolEnvironments(spec, seeds, threads, discrete)
    return GymnasiumEnvironments(spec, seeds, discrete)


def choose_backend(spec: EnvironmentSpec, backend: str = "auto") -> str:
    """The backend that `make_environments` takes for `spec`: `envpool` or `gymnasium`.

    Raises:
        UserError: `backend` is unknown, or is `envpool` and envpool lacks the environment.
    """
    if backend not in ("auto", "envpool", "gymnasium"):
        raise UserError(f"There is no environment backend '{backend}': use auto, envpool or gymnasium.")
    if backend != "gymnasium" and _envpool_has(spec):
        return "envpool"
    if backend == "envpool":
        raise UserError(
            f"envpool cannot make '{spec.id}' here (not installed, no such environment, or constructor "
            "arguments it does not take); use the gymnasium backend."
        )
    return "gymnasium"


def why_unplayable(
    spec: EnvironmentSpec,
    observation_size: int,
    action_size: int,
    *,
    discrete: bool = False,
    bounds: tuple[ArrayLike, ArrayLike] | None = None,
) -> str:
    """Why a policy of these sizes cannot be evaluated here, in one sentence; empty if it can.

    Args:
        spec: the environment.
        observation_size: `O`.
        action_size: `A`.
        discrete: whether its actions are discrete.
        bounds: of its actions, one number or `[A]` each, if they are not.
    """
    try:
        environments = make_environments(spec, [0], discrete=discrete)
    except UserError as error:
        return str(error)
    sizes = environments.observation_size, len(environments.action_low)
    environments.close()
    if sizes != (observation_size, action_size):
        return (
            f"Environment '{spec.id}' gives {sizes[0]} observations and takes {sizes[1]} actions, but the "
            f"data have {observation_size} and {action_size}."
        )
    low, high = environments.action_low, environments.action_high
    lowest, highest = (np.asarray(bound, np.float32) for bound in bounds or (low, high))
    if (lowest < low).any() or (highest > high).any():
        return (
            f"Environment '{spec.id}' takes actions from {low.tolist()} to {high.tolist()}, but the data have"
            f" some from {lowest.tolist()} to {highest.tolist()}."
        )
    return ""


def environment_versions(spec: EnvironmentSpec, backend: str) -> dict[str, str]:
    """Provenance of a score: environment id, backend with version, simulator with version.

    envpool carries its own MuJoCo, so its version fixes the simulator's. A time limit or constructor
    arguments that differ from the registered ones are listed too.
    """
    versions = {"id": spec.id, "backend": backend, "backend_version": importlib.metadata.version(backend)}
    if backend == "gymnasium":
        if spec.module:
            version = getattr(importlib.import_module(spec.module), "__version__", "of unknown version")
            versions["backend_version"] += f", {spec.module} {version}"
        versions["mujoco_version"] = importlib.metadata.version("mujoco")
    if spec.max_episode_steps is not None:
        versions["max_episode_steps"] = str(spec.max_episode_steps)
    if spec.kwargs:
        versions["kwargs"] = json.dumps(dict(spec.kwargs), sort_keys=True, default=str)
    return versions


def _envpool_has(spec: EnvironmentSpec) -> bool:
    try:
        import envpool
    except ImportError:
        return False
    # envpool's constructors know their own option names, not gymnasium's.
    return not spec.kwargs and spec.id in envpool.list_all_envs()


class EnvpoolEnvironments:
    """A `VectorEnvironment` by envpool, whose own interface is `pool`."""

    backend = "envpool"

    def __init__(self, spec: EnvironmentSpec, seeds: Sequence[int], threads: int, discrete: bool) -> None:
        self._spec, self._threads, self._count = spec, threads or min(len(seeds), usable_cores()), len(seeds)
        self._given_up: list[Any] = []
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
                self._spec.id,
                env_type="gymnasium",
                num_envs=self._count,
                num_threads=self._threads,
                seed=list(seeds),
                **time_limit(self._spec),
            )

    def reset(self) -> NDArray[np.float64]:
        """See `VectorEnvironment`."""
        observations, _ = self.pool.reset()
        return self._flat(observations)

    def step(self, actions: NDArray[np.float32], where: NDArray[np.bool_] | None = None) -> Step:
        """See `VectorEnvironment`."""
        native = native_actions(actions.astype(np.float64), self._space)
        if where is None:
            observations, rewards, terminated, truncated, _ = self.pool.step(native)
            return Step(
                self._flat(observations),
                np.array(rewards, np.float64),
                np.array(terminated, np.bool_),
                np.array(truncated, np.bool_),
            )
        some = np.flatnonzero(where).astype(np.int32)
        observations, rewards, terminated, truncated, info = self.pool.step(native[some], some)
        step, rows = Step.empty(self._count, self.observation_size), info["env_id"]
        step.observations[rows] = self._flat(observations)
        step.rewards[rows], step.terminated[rows], step.truncated[rows] = rewards, terminated, truncated
        return step

    def reset_some(self, where: NDArray[np.bool_]) -> NDArray[np.float64]:
        """See `VectorEnvironment`."""
        observations, info = self.pool.reset(np.flatnonzero(where).astype(np.int32))
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
