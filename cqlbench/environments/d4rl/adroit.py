"""D4RL's Adroit tasks: gymnasium-robotics' with D4RL's rewards and ends."""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from gymnasium_robotics.envs.adroit_hand import (
    AdroitHandDoorEnv,
    AdroitHandHammerEnv,
    AdroitHandPenEnv,
    AdroitHandRelocateEnv,
)
from numpy.typing import NDArray

from cqlbench.environments.d4rl.correction import Correction
from cqlbench.environments.d4rl.model import Outcome


class _Corrected:
    """Of its subclasses' steps those of the class beside it, corrected.

    Args:
        correction: a `Correction`'s attributes.
        kwargs: those of the class beside it.
    """

    STATE: tuple[str, ...] = ("model.body_pos", "model.body_quat", "model.site_pos")
    """What resets draw; see `ModelEnv`."""

    def __init__(self, correction: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._correction = msgspec.convert(correction, Correction)

    def step(self, action: NDArray[Any]) -> Outcome:
        """See `gymnasium.Env`."""
        observation, reward, _, truncated, info = super().step(action)  # type: ignore[misc]
        row = observation[None]
        reward = self._correction.rewards(row, np.array([reward]))[0]
        return observation, reward, bool(self._correction.ends(row)[0]), truncated, info


class Pen(_Corrected, AdroitHandPenEnv):  # type: ignore[misc]
    """The episode ends where the pen drops."""

    STATE = (*_Corrected.STATE, "pen_length", "tar_length")


class Door(_Corrected, AdroitHandDoorEnv):  # type: ignore[misc]
    """The hand's distance from the handle costs reward."""


class Hammer(_Corrected, AdroitHandHammerEnv):  # type: ignore[misc]
    """The hand's distance from the hammer costs reward."""


class Relocate(_Corrected, AdroitHandRelocateEnv):  # type: ignore[misc]
    """The hand's distance from the ball costs reward."""
