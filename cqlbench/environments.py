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
        module: the Python module that registers the environment with gymnasium; empty: gymnasium itself.
        extra: the extra of cqlbench that brings that module.
        observation_keys: of observations that are dictionaries, the parts that are joined, in this order.
        padding: how many zeros are appended to each observation, for sensors that read 0 in the data.

    Raises:
        UserError: the time limit is not positive.
    """

    id: str
    max_episode_steps: int | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    module: str = ""
    extra: str = ""
    observation_keys: tuple[str, ...] | None = None
    padding: int = 0

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
    spec: EnvironmentSpec, observation_size: int, action_size: int, *, discrete: bool = False
) -> str:
    """Why a policy of these sizes cannot be evaluated here, in one sentence; empty if it can."""
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
            self._flat = _Flat(spec, observations, len(seeds))
        except UserError:
            self._pool.close()
            raise
        self.observation_size = self._flat.size

    def reset(self) -> NDArray[np.float64]:
        observations, _ = self._pool.reset()
        return self._flat(observations)

    def step(self, actions: NDArray[np.float32]) -> Step:
        native = _native(actions.astype(np.float64), self._space)
        observations, rewards, terminated, truncated, _ = self._pool.step(native)
        return Step(
            self._flat(observations),
            np.array(rewards, np.float64),
            np.array(terminated, np.bool_),
            np.array(truncated, np.bool_),
        )

    def close(self) -> None:
        self._pool.close()


class GymnasiumEnvironments:
    """`make_environments` by gymnasium, which can also draw."""

    backend = "gymnasium"

    def __init__(self, spec: EnvironmentSpec, seeds: Sequence[int], discrete: bool) -> None:
        def make() -> gymnasium.Env[Any, Any]:
            return gymnasium.make(spec.id, disable_env_checker=True, **_time_limit(spec), **spec.kwargs)

        try:
            with _quiet_construction():
                if spec.module:
                    importlib.import_module(spec.module)
                self._vector = gymnasium.vector.SyncVectorEnv(
                    [make] * len(seeds), autoreset_mode=gymnasium.vector.AutoresetMode.NEXT_STEP
                )
        except Exception as error:
            raise UserError(_unmade(spec, error)) from error
        self._unused_seeds: list[int | None] | None = list(seeds)
        try:
            self._space = self._vector.single_action_space
            self.action_low, self.action_high = _action_bounds(spec, self._space, discrete)
            self._flat = _Flat(spec, self._vector.single_observation_space, len(seeds))
        except UserError:
            self._vector.close()
            raise
        self.observation_size = self._flat.size

    @property
    def frames_per_second(self) -> int | None:
        """The rate at which `frame` is meant to be shown, if the environment says so."""
        rate: int | None = self._vector.envs[0].metadata.get("render_fps")
        return rate

    def frame(self) -> NDArray[np.uint8]:
        """A picture of the first environment, `[height, width, 3]`; needs the `render_mode` `rgb_array`."""
        return np.asarray(self._vector.envs[0].render(), np.uint8)

    def reset(self) -> NDArray[np.float64]:
        """See `VectorEnvironment`."""
        # Seeding again would replay the first episodes, which envpool's `reset` does not do.
        seeds, self._unused_seeds = self._unused_seeds, None
        observations, _ = self._vector.reset(seed=seeds)
        return self._flat(observations)

    def step(self, actions: NDArray[np.float32]) -> Step:
        """See `VectorEnvironment`."""
        observations, rewards, terminated, truncated, _ = self._vector.step(_native(actions, self._space))
        return Step(
            self._flat(observations),
            np.array(rewards, np.float64),
            np.array(terminated, np.bool_),
            np.array(truncated, np.bool_),
        )

    def close(self) -> None:
        """See `VectorEnvironment`."""
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


def _unmade(spec: EnvironmentSpec, error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = lines[0].split(". ")[0].rstrip(".")
    advice = "correct its id or arguments, or install the package that registers it"
    if spec.module and not isinstance(error, ImportError | gymnasium.error.Error | TypeError):
        advice = f"try other versions of {spec.module} and MuJoCo"
    if spec.extra and isinstance(error, ImportError):
        advice = f"install what it needs with `pip install 'cqlbench[{spec.extra}]'`"
    return f"Environment '{spec.id}' cannot be made here ({reason}); {advice}."


def _action_bounds(
    spec: EnvironmentSpec, space: Any, discrete: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if discrete and isinstance(space, gymnasium.spaces.Discrete):
        return np.zeros(int(space.n), np.float32), np.ones(int(space.n), np.float32)
    if discrete:
        raise UserError(
            f"Environment '{spec.id}' has the action space {space}, and a Discrete one is needed."
        )
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise UserError(f"Environment '{spec.id}' has the action space {space}, and a flat Box is needed.")
    return np.asarray(space.low, np.float32), np.asarray(space.high, np.float32)


def _native(actions: NDArray[Any], space: Any) -> NDArray[Any]:
    """`actions`, `[n, A]`, as the simulator takes them: discrete ones by their numbers."""
    if isinstance(space, gymnasium.spaces.Discrete):
        actions = actions.argmax(axis=1) + int(space.start)
    return actions


class _Flat:
    """What `n` environments observe -> `[n, O]` float64, laid out as the data are.

    The parts of a dictionary are joined in the order of `observation_keys`, each row by row; a discrete part
    is one number.
    """

    def __init__(self, spec: EnvironmentSpec, space: Any, environments: int) -> None:
        self._keys, self._rows, self._padding = spec.observation_keys, environments, spec.padding
        if self._keys is None:
            parts = {"": space}
            if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
                raise UserError(
                    f"Environment '{spec.id}' has the observation space {space}, and a flat Box is needed; "
                    "of a dictionary, the card names the parts (observation_keys)."
                )
        else:
            parts = {key: _part(spec, space, key) for key in self._keys}
        self.size = sum(int(np.prod(part.shape)) for part in parts.values()) + self._padding

    def __call__(self, observations: Any) -> NDArray[np.float64]:
        parts = [observations] if self._keys is None else [observations[key] for key in self._keys]
        flat = [np.asarray(part, np.float64).reshape(self._rows, -1) for part in parts]
        return np.concatenate([*flat, np.zeros((self._rows, self._padding))], axis=1)


def _part(spec: EnvironmentSpec, space: Any, key: str) -> gymnasium.Space[Any]:
    there = space.spaces if isinstance(space, gymnasium.spaces.Dict) else {}
    part = there.get(key)
    if not isinstance(part, gymnasium.spaces.Box | gymnasium.spaces.Discrete):
        usable = [
            k for k, v in there.items() if isinstance(v, gymnasium.spaces.Box | gymnasium.spaces.Discrete)
        ]
        raise UserError(
            f"Environment '{spec.id}' observes no array '{key}', which the card's observation_keys name; it "
            f"observes {', '.join(usable) or space}."
        )
    return part
