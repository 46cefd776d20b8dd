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

import numpy as np
from numpy.typing import ArrayLike

from cqlbench.core.errors import UserError
from cqlbench.environments import d4rl
from cqlbench.environments.envpool_backend import EnvpoolEnvironments
from cqlbench.environments.gymnasium_backend import GymnasiumEnvironments
from cqlbench.environments.spec import EnvironmentSpec, Step, VectorEnvironment

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

    `bounds` are those of its actions, one number or `[A]` each, if they are not discrete.
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
    modules = [d4rl.__name__] if spec.id in d4rl.TASKS else []
    if backend == "gymnasium":
        modules += filter(None, [d4rl.TASKS.get(spec.id, {}).get("needs"), spec.module])
        versions["mujoco_version"] = importlib.metadata.version("mujoco")
    for module in dict.fromkeys(modules):
        version = getattr(importlib.import_module(module), "__version__", "of unknown version")
        versions["backend_version"] += f", {module} {version}"
    if spec.max_episode_steps is not None:
        versions["max_episode_steps"] = str(spec.max_episode_steps)
    if spec.kwargs:
        versions["kwargs"] = json.dumps(dict(spec.kwargs), sort_keys=True, default=str)
    if spec.wrappers:
        versions["wrappers"] = json.dumps(spec.wrappers, sort_keys=True)
    return versions


def _envpool_has(spec: EnvironmentSpec) -> bool:
    try:
        import envpool
    except ImportError:
        return False
    # envpool's constructors know their own option names, not gymnasium's.
    return not spec.kwargs and not spec.wrappers and d4rl.envpool_id(spec.id) in envpool.list_all_envs()
