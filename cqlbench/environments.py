"""Vectorised MuJoCo (and other) environments: envpool where it has the environment, gymnasium elsewhere."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray

from cqlbench.errors import UserError


@dataclass(frozen=True)
class EnvironmentSpec:
    """What an evaluation or collection environment is, before it is made.

    Attributes:
        id: gymnasium id, such as `Hopper-v4`.
        max_episode_steps: the time limit, in steps; `None` takes the registered one.
        kwargs: constructor arguments.
    """

    id: str
    max_episode_steps: int | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """What `n` environments return. `observations` of an ended episode are the state really reached.

    The environment that ended starts its next episode at the following `step`, which ignores its action
    and returns the first observation with reward 0 (gymnasium's `NEXT_STEP` autoreset, also envpool's).

    Attributes:
        observations: `[n, O]` float64.
        rewards: `[n]` float64.
        terminated: `[n]` bool.
        truncated: `[n]` bool.
    """

    observations: NDArray[np.float64]
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]


class VectorEnvironment(Protocol):
    """`n` environments stepped together, each with its own seed."""

    backend: str
    """`envpool` or `gymnasium`."""
    action_low: NDArray[np.float32]
    action_high: NDArray[np.float32]
    observation_size: int

    def reset(self) -> NDArray[np.float64]:
        """First observations, `[n, O]`."""

    def step(self, actions: NDArray[np.float32]) -> Step:
        """Apply `actions`, `[n, A]`."""

    def close(self) -> None:
        """Free threads and simulators."""


def make_environments(
    spec: EnvironmentSpec, seeds: Sequence[int], backend: str = "auto", threads: int = 0
) -> VectorEnvironment:
    """One environment per seed; which seeds stand beside it changes nothing for an environment.

    Args:
        spec: the environment.
        seeds: one 31-bit seed per environment.
        backend: `auto` prefers envpool; `envpool` and `gymnasium` insist.
        threads: envpool's worker threads; 0 lets it choose.

    Raises:
        UserError: no backend has the environment, or its spaces are not boxes.
    """
    if backend in ("auto", "envpool") and _envpool_has(spec):
        return _EnvpoolEnvironments(spec, seeds, threads)
    if backend == "envpool":
        raise UserError(f"envpool has no environment '{spec.id}'; use the gymnasium backend.")
    return _GymnasiumEnvironments(spec, seeds)


def environment_versions(spec: EnvironmentSpec, backend: str) -> dict[str, str]:
    """Provenance of a score: environment id, backend with version, simulator with version."""
    versions = {"id": spec.id, "backend": backend, "backend_version": importlib.metadata.version(backend)}
    if backend == "gymnasium":
        versions["mujoco_version"] = importlib.metadata.version("mujoco")
    return versions


def _envpool_has(spec: EnvironmentSpec) -> bool:
    try:
        import envpool
    except ImportError:
        return False
    return not spec.kwargs and spec.id in envpool.list_all_envs()


class _EnvpoolEnvironments:
    backend = "envpool"

    def __init__(self, spec: EnvironmentSpec, seeds: Sequence[int], threads: int) -> None:
        import envpool

        limit = {} if spec.max_episode_steps is None else {"max_episode_steps": spec.max_episode_steps}
        self._pool = envpool.make(
            spec.id,
            env_type="gymnasium",
            num_envs=len(seeds),
            num_threads=threads,
            seed=list(seeds),
            **limit,
        )
        self.action_low, self.action_high, self.observation_size = _boxes(
            spec, self._pool.action_space, self._pool.observation_space
        )

    def reset(self) -> NDArray[np.float64]:
        observations, _ = self._pool.reset()
        return np.asarray(observations, np.float64)

    def step(self, actions: NDArray[np.float32]) -> Step:
        observations, rewards, terminated, truncated, _ = self._pool.step(actions.astype(np.float64))
        return Step(
            np.asarray(observations, np.float64),
            np.asarray(rewards, np.float64),
            np.asarray(terminated, np.bool_),
            np.asarray(truncated, np.bool_),
        )

    def close(self) -> None:
        self._pool.close()


class _GymnasiumEnvironments:
    backend = "gymnasium"

    def __init__(self, spec: EnvironmentSpec, seeds: Sequence[int]) -> None:
        limit = {} if spec.max_episode_steps is None else {"max_episode_steps": spec.max_episode_steps}

        def make() -> gymnasium.Env[Any, Any]:
            return gymnasium.make(spec.id, disable_env_checker=True, **limit, **spec.kwargs)

        try:
            self._vector = gymnasium.vector.SyncVectorEnv([make] * len(seeds))
        except (gymnasium.error.Error, ImportError) as error:
            raise UserError(f"Environment '{spec.id}' cannot be made here: {error}") from error
        self._seeds = list(seeds)
        self.action_low, self.action_high, self.observation_size = _boxes(
            spec, self._vector.single_action_space, self._vector.single_observation_space
        )

    def reset(self) -> NDArray[np.float64]:
        observations, _ = self._vector.reset(seed=self._seeds)
        return np.array(observations, np.float64)

    def step(self, actions: NDArray[np.float32]) -> Step:
        observations, rewards, terminated, truncated, _ = self._vector.step(actions)
        return Step(
            np.array(observations, np.float64),
            np.asarray(rewards, np.float64),
            np.asarray(terminated, np.bool_),
            np.asarray(truncated, np.bool_),
        )

    def close(self) -> None:
        self._vector.close()


def _boxes(
    spec: EnvironmentSpec, action_space: Any, observation_space: Any
) -> tuple[NDArray[np.float32], NDArray[np.float32], int]:
    for what, space in (("action", action_space), ("observation", observation_space)):
        # envpool hands out gymnasium's own classes; anything else (dicts, discrete) is not a flat box.
        if type(space).__name__ != "Box" or len(space.shape) != 1:
            raise UserError(
                f"Environment '{spec.id}' has the {what} space {space}, and a flat Box is needed."
            )
    return (
        np.asarray(action_space.low, np.float32),
        np.asarray(action_space.high, np.float32),
        int(observation_space.shape[0]),
    )
