"""Pictures of environments, drawn without a window."""

import os
import sys

import numpy as np
from gymnasium.error import DependencyNotInstalled
from msgspec.structs import replace
from numpy.typing import NDArray

from cqlbench.core.errors import UserError
from cqlbench.environments.gymnasium_backend import GymnasiumEnvironments, make
from cqlbench.environments.replay import way_of
from cqlbench.environments.spaces import FlatObservations
from cqlbench.environments.spec import EnvironmentSpec

Picture = NDArray[np.uint8]
"""`[height, width, 3]`."""


def rendered(spec: EnvironmentSpec, seed: int, discrete: bool) -> GymnasiumEnvironments:
    """One environment whose `frame` can be taken.

    Raises:
        UserError: it cannot be made or rendered here.
    """
    environment = GymnasiumEnvironments(_drawable(spec), [seed], discrete)
    try:
        environment.reset()
        environment.frame()
    except Exception as error:
        environment.close()
        raise _undrawn(spec, error) from error
    return environment


def picture(spec: EnvironmentSpec, observation: NDArray[np.floating] | None = None) -> Picture:
    """The environment in the state that `observation`, `[O]`, was seen in; else at an episode's beginning.

    A state is set where it can be read from an observation, see `cqlbench.environments.replay`.

    Raises:
        UserError: it cannot be made or rendered here.
    """
    environment = make(_drawable(spec))
    try:
        way = None
        if observation is not None:
            way = way_of(environment, FlatObservations(spec, environment.observation_space), len(observation))
        environment.reset(seed=0)
        if observation is not None and way is not None:
            way.set(way.read(observation.astype(np.float64)))
        return np.asarray(environment.render(), np.uint8)
    except Exception as error:
        raise _undrawn(spec, error) from error
    finally:
        environment.close()


def _drawable(spec: EnvironmentSpec) -> EnvironmentSpec:
    if sys.platform == "linux" and not os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
        os.environ.setdefault("MUJOCO_GL", "egl")  # gymnasium would open a window
        # libwayland, which EGL and GLFW try, prints an error of its own where the variable is not set.
        os.environ.setdefault("XDG_RUNTIME_DIR", os.devnull)
    return replace(spec, kwargs={**spec.kwargs, "render_mode": "rgb_array"})


def _undrawn(spec: EnvironmentSpec, error: Exception) -> UserError:
    # Every graphics library fails in a way of its own.
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    remedy = (
        "MuJoCo needs a display, MUJOCO_GL=egl with a graphics driver, or MUJOCO_GL=osmesa with libosmesa6"
    )
    if isinstance(error, DependencyNotInstalled):
        reason, remedy = reason.partition(",")[0], "pip install 'cqlbench[video]'"
    return UserError(f"'{spec.id}' cannot be rendered here ({reason}); {remedy}.")
