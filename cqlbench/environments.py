"""Vectorised MuJoCo (and other) environments: envpool where it has the environment, gymnasium elsewhere.

The two backends run the same equations but draw different initial states from the same seed, and envpool
carries a MuJoCo of its own. From one state with the same actions Hopper, Walker2d and HalfCheetah agree to
rounding error at first; where the dynamics are chaotic (HalfCheetah) rounding alone parts them within
200 steps. Episodes are therefore reproducible per backend and version, which `environment_versions` records.
"""

import contextlib
import importlib.metadata
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
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

    Raises:
        UserError: the time limit is not positive.
    """

    id: str
    max_episode_steps: int | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.max_episode_steps is not None and self.max_episode_steps < 1:
            raise UserError(
                f"The time limit of '{self.id}' is {self.max_episode_steps} steps, and at least 1 is needed."
            )


@dataclass(frozen=True)
class Step:
    """What `n` environments return. `observations` of an ended episode are the state really reached.

    The environment that ended starts its next episode at the following `step`, which ignores its action
    and returns the first observation with reward 0 (gymnasium's `NEXT_STEP` autoreset, also envpool's).

    A task that ends itself in the very step of its time limit is both terminated and truncated in gymnasium,
    and truncated only in envpool.

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
    """`[A]`; with discrete actions zeros"""
    action_high: NDArray[np.float32]
    """`[A]`; with discrete actions ones"""
    observation_size: int
    """`O`"""

    def reset(self) -> NDArray[np.float64]:
        """First observations, `[n, O]`: of the seeds' first episodes, then of the episodes after those."""

    def step(self, actions: NDArray[np.float32]) -> Step:
        """Apply `actions`, `[n, A]`; of discrete ones the largest entry counts."""

    def close(self) -> None:
        """Free threads and simulators. May be called twice."""


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
        return _EnvpoolEnvironments(spec, seeds, threads, discrete)
    return _GymnasiumEnvironments(spec, seeds, discrete)


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


def environment_versions(spec: EnvironmentSpec, backend: str) -> dict[str, str]:
    """Provenance of a score: environment id, backend with version, simulator with version.

    envpool carries its own MuJoCo, so its version fixes the simulator's. A time limit or constructor
    arguments that differ from the registered ones are listed too.
    """
    versions = {"id": spec.id, "backend": backend, "backend_version": importlib.metadata.version(backend)}
    if backend == "gymnasium":
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


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _EnvpoolEnvironments:
    backend = "envpool"

    def __init__(self, spec: EnvironmentSpec, seeds: Sequence[int], threads: int, discrete: bool) -> None:
        import envpool

        with _quiet_construction():
            self._pool = envpool.make(
                spec.id,
                env_type="gymnasium",
                num_envs=len(seeds),
                num_threads=threads or min(len(seeds), _usable_cores()),
                seed=list(seeds),
                **_time_limit(spec),
            )
            self._space, observations = self._pool.action_space, self._pool.observation_space
        try:
            self.action_low, self.action_high = _action_bounds(spec, self._space, discrete)
            self.observation_size = _observation_size(spec, observations)
        except UserError:
            self._pool.close()
            raise

    def reset(self) -> NDArray[np.float64]:
        observations, _ = self._pool.reset()
        return np.array(observations, np.float64)

    def step(self, actions: NDArray[np.float32]) -> Step:
        native = _native(actions.astype(np.float64), self._space)
        observations, rewards, terminated, truncated, _ = self._pool.step(native)
        return Step(
            np.array(observations, np.float64),
            np.array(rewards, np.float64),
            np.array(terminated, np.bool_),
            np.array(truncated, np.bool_),
        )

    def close(self) -> None:
        self._pool.close()


class _GymnasiumEnvironments:
    backend = "gymnasium"

    def __init__(self, spec: EnvironmentSpec, seeds: Sequence[int], discrete: bool) -> None:
        def make() -> gymnasium.Env[Any, Any]:
            return gymnasium.make(spec.id, disable_env_checker=True, **_time_limit(spec), **spec.kwargs)

        try:
            with _quiet_construction():
                self._vector = gymnasium.vector.SyncVectorEnv(
                    [make] * len(seeds), autoreset_mode=gymnasium.vector.AutoresetMode.NEXT_STEP
                )
        except (gymnasium.error.Error, ImportError, TypeError) as error:
            # A TypeError is a constructor argument that the environment does not know.
            if isinstance(error, TypeError) and not spec.kwargs:
                raise
            reason = str(error).strip().splitlines()[0].split(". ")[0].rstrip(".")
            raise UserError(
                f"Environment '{spec.id}' cannot be made here ({reason}); correct its id or arguments, or "
                "install the package that registers it."
            ) from error
        self._unused_seeds: list[int | None] | None = list(seeds)
        try:
            self._space = self._vector.single_action_space
            self.action_low, self.action_high = _action_bounds(spec, self._space, discrete)
            self.observation_size = _observation_size(spec, self._vector.single_observation_space)
        except UserError:
            self._vector.close()
            raise

    def reset(self) -> NDArray[np.float64]:
        # Seeding again would replay the first episodes, which envpool's `reset` does not do.
        seeds, self._unused_seeds = self._unused_seeds, None
        observations, _ = self._vector.reset(seed=seeds)
        return np.array(observations, np.float64)

    def step(self, actions: NDArray[np.float32]) -> Step:
        observations, rewards, terminated, truncated, _ = self._vector.step(_native(actions, self._space))
        return Step(
            np.array(observations, np.float64),
            np.array(rewards, np.float64),
            np.array(terminated, np.bool_),
            np.array(truncated, np.bool_),
        )

    def close(self) -> None:
        self._vector.close()


def _time_limit(spec: EnvironmentSpec) -> dict[str, int]:
    return {} if spec.max_episode_steps is None else {"max_episode_steps": spec.max_episode_steps}


@contextlib.contextmanager
def _quiet_construction() -> Iterator[None]:
    """No line per environment about superseded ids, XML attributes and rounded bounds.

    The ids are the published protocol's (D4RL is scored on v4): the advice to upgrade is not for our users.
    """
    import mujoco

    def ignore(_: str) -> None:
        return None

    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(ignore)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        mujoco.set_mju_user_warning(before)


def _action_bounds(
    spec: EnvironmentSpec, space: Any, discrete: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if discrete and isinstance(space, gymnasium.spaces.Discrete):
        return np.zeros(int(space.n), np.float32), np.ones(int(space.n), np.float32)
    if discrete:
        raise UserError(
            f"Environment '{spec.id}' has the action space {space}, and a Discrete one is needed."
        )
    _require_flat(spec, "action", space)
    return np.asarray(space.low, np.float32), np.asarray(space.high, np.float32)


def _observation_size(spec: EnvironmentSpec, space: Any) -> int:
    _require_flat(spec, "observation", space)
    return int(space.shape[0])


def _require_flat(spec: EnvironmentSpec, what: str, space: Any) -> None:
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise UserError(f"Environment '{spec.id}' has the {what} space {space}, and a flat Box is needed.")


def _native(actions: NDArray[Any], space: Any) -> NDArray[Any]:
    """`actions`, `[n, A]`, as the simulator takes them: discrete ones by their numbers."""
    if isinstance(space, gymnasium.spaces.Discrete):
        actions = actions.argmax(axis=1) + int(space.start)
    return actions
