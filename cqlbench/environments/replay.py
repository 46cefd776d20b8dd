"""What a simulator does from states that are given as it observes them.

A state is set where it can be read from the observation: MuJoCo's positions (all, or all but the first one or
two) and velocities at its head, or the `state` of gymnasium's classic control, whose angles are seen as
cosine and sine. Which it is, is found out by trying.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from cqlbench.environments.gymnasium_backend import make
from cqlbench.environments.spaces import FlatObservations, native_actions
from cqlbench.environments.spec import EnvironmentSpec

Numbers = NDArray[np.float64]

_TRIED = 8
"""Steps after which a state must still be what is read from the observation."""

_UNSEEN = (0, 1, 2)
"""How many of its first positions a MuJoCo task may leave unobserved: where it is along one or two axes."""


@dataclass(frozen=True)
class Replayed:
    """What the simulator did.

    Attributes:
        observations: `[n, O]`, after the step.
        seen: how many of their first numbers follow from the state alone.
        rewards: `[n]`.
        terminated: `[n]` bool.
    """

    observations: Numbers
    seen: int
    rewards: Numbers
    terminated: NDArray[np.bool_]


@dataclass(frozen=True)
class Way:
    """How a state is set, and read, and how many of the observation's first numbers hold it."""

    set: Callable[[Numbers], None]
    read: Callable[[Numbers], Numbers]
    state: Callable[[], Numbers]
    seen: int


def replay(spec: EnvironmentSpec, observations: NDArray[Any], actions: NDArray[Any]) -> Replayed | None:
    """One step from each of `observations`, `[n, O]`, by `actions`, `[n, A]`; `None`: states cannot be set.

    Of discrete actions the largest number counts.

    Raises:
        UserError: the environment cannot be made.
    """
    environment = make(spec)
    try:
        flat = FlatObservations(spec, environment.observation_space)
        way = way_of(environment, flat, observations.shape[1])
        native = native_actions(actions, environment.action_space)
        if way is None or native.shape[1:] != environment.action_space.shape:
            return None
        played = Replayed(
            np.empty(observations.shape), way.seen, np.empty(len(native)), np.empty(len(native), bool)
        )
        environment.reset(seed=0)
        for row, (before, action) in enumerate(zip(observations, native, strict=True)):
            way.set(way.read(before.astype(np.float64)))
            after, reward, ended, _, _ = environment.step(action)
            played.observations[row] = flat.one(after)
            played.rewards[row], played.terminated[row] = float(reward), bool(ended)
        return played
    finally:
        environment.close()


def way_of(environment: Any, flat: FlatObservations, size: int) -> Way | None:
    """The first way by which states are read rightly from what the environment itself observes."""
    base = environment.unwrapped
    environment.reset(seed=0)
    for way in _ways(base, size) if flat.size == size else ():
        observation, _ = environment.reset(seed=0)
        environment.action_space.seed(0)
        for _ in range(_TRIED):
            state, read = way.state(), way.read(flat.one(observation))
            most = np.abs(read).max()  # velocities may be clipped before they are observed
            if read.shape != state.shape or not np.allclose(
                read, state.clip(-most, most), rtol=1e-5, atol=1e-5
            ):
                break
            observation = environment.step(environment.action_space.sample())[0]
        else:
            return way
    return None


def _ways(base: Any, size: int) -> list[Way]:
    if hasattr(base, "set_state") and isinstance(getattr(base, "model", None), mujoco.MjModel):
        sizes = [(unseen, base.model.nq + base.model.nv - unseen) for unseen in _UNSEEN]
        return [_mujoco(base, unseen, seen) for unseen, seen in sizes if seen <= size]
    if isinstance(getattr(base, "state", None), np.ndarray | tuple | list):
        return [_classic(base, size)]
    return []


def _mujoco(base: Any, unseen: int, seen: int) -> Way:
    positions = base.model.nq

    def place(state: Numbers) -> None:
        mujoco.mj_resetData(base.model, base.data)  # the solver starts from where it was before
        base.set_state(
            np.concatenate([np.zeros(unseen), state[: positions - unseen]]), state[positions - unseen :]
        )

    def current() -> Numbers:
        return np.concatenate([base.data.qpos[unseen:], base.data.qvel])

    return Way(place, lambda observation: observation[:seen], current, seen)


def _classic(base: Any, size: int) -> Way:
    """Of `n` numbers with `a` angles, `n + a` are observed: cosines and sines in turn, then the rest."""
    angles = size - len(base.state)

    def read(observation: Numbers) -> Numbers:
        cosines, sines = observation[: 2 * angles : 2], observation[1 : 2 * angles : 2]
        return np.concatenate([np.arctan2(sines, cosines), observation[2 * angles :]])

    def current() -> Numbers:
        state = np.array(base.state, np.float64)
        state[:angles] = (state[:angles] + np.pi) % (2 * np.pi) - np.pi
        return state

    def place(state: Numbers) -> None:
        base.state = state.copy()
        if hasattr(base, "steps_beyond_terminated"):
            base.steps_beyond_terminated = None

    return Way(place, read, current, size)
