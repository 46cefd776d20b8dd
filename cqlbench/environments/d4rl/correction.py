"""D4RL's rewards and ends where the simulators' are others, computed from what is observed."""

import msgspec
import numpy as np
from numpy.typing import NDArray


class Correction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a step of gymnasium-robotics 1.2.1 or later, or of envpool 1.2.5, becomes D4RL's.

    They add a tenth of the hand's distance from its object to the reward, where D4RL subtracts it
    (hand_manipulation_suite/door_v0.py:52, hammer_v0.py:57, relocate_v0.py:48; gymnasium-robotics' pull
    request 220), and go on where the object drops (pen_v0.py:84-87; gymnasium-robotics' issue 112).

    Attributes:
        hand: columns of the observation that hold the hand's position; empty: the reward is right.
        object: those that hold the object's position; empty: `hand` holds the difference of the two.
        height: the column that holds the object's height; `None`: the end is right.
        lowest: the episode ends below this height, in metres.
    """

    hand: tuple[int, ...] = ()
    object: tuple[int, ...] = ()
    height: int | None = None
    lowest: float = 0.0

    def rewards(self, observations: NDArray[np.float64], rewards: NDArray[np.float64]) -> NDArray[np.float64]:
        """`[n]` for the observations after the steps, `[n, O]`, and the simulator's rewards, `[n]`."""
        if not self.hand:
            return rewards
        between = observations[:, self.hand]
        if self.object:
            between = between - observations[:, self.object]
        distances: NDArray[np.float64] = np.sqrt((between**2).sum(axis=1))
        return rewards - 0.2 * distances

    def ends(self, observations: NDArray[np.float64]) -> NDArray[np.bool_]:
        """`[n]`: where D4RL's episode ends, by the observations after the steps, `[n, O]`."""
        if self.height is None:
            return np.zeros(len(observations), np.bool_)
        low: NDArray[np.bool_] = observations[:, self.height] < self.lowest
        return low
