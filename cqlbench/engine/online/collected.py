"""What collectors hand over: transitions of a whole seed batch, and the episodes that have ended."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FLAGS = ("terminated", "ended", "broken")
"""Columns of collected rows that are bool; the others are float32."""


def row_shapes(observation_size: int, action_size: int) -> dict[str, tuple[int, ...]]:
    """The columns of collected rows, and the shape of a row in each."""
    return {
        "observations": (observation_size,),
        "actions": (action_size,),
        "rewards": (),
        "next_observations": (observation_size,),
        "terminated": (),
        "ended": (),
    }


@dataclass(frozen=True)
class Collected:
    """`F = E * T` frames of each of `S` seeds; every row is a transition that happened.

    Rows are laid out in time: row `t * E + e` is step `t` of the seed's environment `e`. An environment's
    rows continue in the next `Collected`.

    Attributes:
        observations: `[S, F, O]` float32.
        actions: `[S, F, A]` float32, as the environment was given them.
        rewards: `[S, F]` float32.
        next_observations: `[S, F, O]` float32: the states really reached, at episode ends too.
        terminated: `[S, F]` bool: the task ended itself.
        ended: `[S, F]` bool: the last row of its episode: terminated, at the time limit, or dropped.
        broken_before: `[S, E]` bool: the episode in flight before this batch was dropped, so the last row
            before it, delivered with `ended` false, was the last of its episode.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    next_observations: Tensor
    terminated: Tensor
    ended: Tensor
    broken_before: Tensor


class Episode(NamedTuple):
    """A whole episode: training seed, the seed's frames when it ended, steps, undiscounted return."""

    seed: int
    frame: int
    length: int
    episode_return: float


class Rows:
    """`T` steps of `n` environments, being filled in: `step` of them everywhere, `filled` `[n]` of each.

    Attributes:
        columns: `[n, T, …]` each.
    """

    def __init__(self, steps: int, environments: int, observation_size: int, action_size: int) -> None:
        self.columns: dict[str, NDArray[Any]] = {
            name: np.zeros((environments, steps, *shape), np.bool_ if name in FLAGS else np.float32)
            for name, shape in row_shapes(observation_size, action_size).items()
        }
        self.filled = np.zeros(environments, np.int64)
        self.step = 0

    def collected(self, seeds: int, broken_before: NDArray[np.bool_]) -> Collected:
        """The rows by seed; without a copy where each has one environment."""
        columns = {}
        for name, array in self.columns.items():
            apart = torch.from_numpy(array).view(seeds, -1, *array.shape[1:])
            columns[name] = apart.transpose(1, 2).flatten(1, 2)
        return Collected(**columns, broken_before=torch.from_numpy(broken_before).view(seeds, -1))
