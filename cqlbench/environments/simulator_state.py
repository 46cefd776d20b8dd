"""The exact state of a gymnasium environment, for the kinds whose whole state is known.

Those are gymnasium's own MuJoCo and classic-control environments, and MuJoCo environments that name what else
their state is (`STATE`), under the wrappers that `gymnasium.make` puts around them and some without a state.
Stepping on from a state is bit by bit what stepping on without it is, in the same versions of MuJoCo and
gymnasium.
"""

import base64
from operator import attrgetter
from typing import Any

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

_DERIVED = ("xpos", "xipos", "xquat", "geom_xpos", "site_xpos", "cvel", "sensordata")
"""What tasks read before they step, for instance to tell how far a body has moved. MuJoCo computes it on the
way into a step, so it lags behind the positions, and no function of the state proper gives it back."""

_MUJOCO = "gymnasium.envs.mujoco."
_CLASSIC = "gymnasium.envs.classic_control."
_WRAPPERS = (
    gymnasium.wrappers.ClipAction,
    gymnasium.wrappers.ClipReward,
    gymnasium.wrappers.OrderEnforcing,
    gymnasium.wrappers.RescaleAction,
    gymnasium.wrappers.RescaleObservation,
    gymnasium.wrappers.TimeLimit,
)


def get_state(environment: gymnasium.Env[Any, Any]) -> dict[str, Any] | None:
    """The state as JSON has it, after a reset; `None` where it is out of reach."""
    base = environment.unwrapped
    simulator = _simulator(base)
    if simulator is None or any(not isinstance(layer, _WRAPPERS) for layer in _layers(environment)):
        return None
    return {
        "simulator": simulator,
        "generator": base.np_random.bit_generator.state,
        "elapsed": [getattr(layer, "_elapsed_steps", None) for layer in _layers(environment)],
    }


def set_state(environment: gymnasium.Env[Any, Any], state: dict[str, Any]) -> None:
    """Go on where `get_state` was called, in an environment made alike.

    Raises:
        KeyError, TypeError or ValueError: `state` is none of such an environment.
    """
    environment.reset(seed=0)  # for what wrappers and environments set up at their first reset
    base = environment.unwrapped
    simulator = state["simulator"]
    if (_simulator(base) or {}).keys() != simulator.keys():
        raise ValueError("the simulator is another")
    if "integration" in simulator:
        _set_mujoco(base, simulator)
    else:
        for name, value in simulator.items():
            setattr(base, name, unpacked(value))
    base.np_random.bit_generator.state = state["generator"]
    for layer, elapsed in zip(_layers(environment), state["elapsed"], strict=True):
        if elapsed is not None:
            layer._elapsed_steps = elapsed


def _layers(environment: Any) -> list[Any]:
    layers = []
    while isinstance(environment, gymnasium.Wrapper):
        layers.append(environment)
        environment = environment.env
    return layers


def _simulator(base: Any) -> dict[str, Any] | None:
    origin = type(base).__module__
    own: tuple[str, ...] | None = getattr(base, "STATE", None)  # see `ModelEnv`
    if origin.startswith(_MUJOCO) or own is not None:
        spec = mujoco.mjtState.mjSTATE_INTEGRATION.value
        integration = np.empty(mujoco.mj_stateSize(base.model, spec))
        mujoco.mj_getState(base.model, base.data, integration, spec)
        derived = {name: packed(getattr(base.data, name)) for name in _DERIVED}
        named = {name: packed(attrgetter(name)(base)) for name in own or ()}
        return {"integration": packed(integration), **derived, **named}
    if origin.startswith(_CLASSIC):
        names = [name for name in ("state", "steps_beyond_terminated") if hasattr(base, name)]
        return {name: packed(getattr(base, name)) for name in names}
    return None


def _set_mujoco(base: Any, simulator: dict[str, Any]) -> None:
    spec = mujoco.mjtState.mjSTATE_INTEGRATION.value
    integration = unpacked(simulator["integration"])
    if integration.shape != (mujoco.mj_stateSize(base.model, spec),):
        raise ValueError("the simulator's state has another size")
    mujoco.mj_setState(base.model, base.data, integration, spec)
    for name in _DERIVED:
        getattr(base.data, name)[:] = unpacked(simulator[name])
    for name in getattr(base, "STATE", ()):
        value = unpacked(simulator[name])
        if isinstance(value, np.ndarray):
            attrgetter(name)(base)[...] = value
        else:
            setattr(base, name, value)


def packed(value: Any) -> Any:
    """Arrays as `[dtype, shape, base64]`: a tenth of the time and half the length of decimal digits."""
    if isinstance(value, np.ndarray):
        return [value.dtype.str, list(value.shape), base64.b64encode(value.tobytes()).decode()]
    if isinstance(value, tuple):
        return packed(np.array(value))
    return value


def unpacked(value: Any) -> Any:
    """What `packed` was given.

    Raises:
        TypeError or ValueError: it gave no such thing.
    """
    if isinstance(value, list):
        dtype, shape, digits = value
        array: NDArray[Any] = np.frombuffer(base64.b64decode(digits), dtype).reshape(shape)
        return array.copy()
    return value
