"""What collectors hand over: transitions of a whole seed batch, and the episodes that have ended."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Collected:
    """`F = E * T` frames of each of `S` seeds; every row is a transition that happened.

    Rows are laid out environment by environment, and in time within each: row `e * T + t` is step `t` of the
    seed's environment `e`, so `column.view(S, E, T, …)` has the tracks apart. A track goes on in the next
    `Collected`, where its first row follows this one's last.

    Attributes:
        observations: `[S, F, O]` float32.
        actions: `[S, F, A]` float32, as the environment was given them.
        rewards: `[S, F]` float32.
        next_observations: `[S, F, O]` float32: the states really reached, at episode ends too.
        terminated: `[S, F]` bool: the task ended itself.
        ended: `[S, F]` bool: the last row of its episode: terminated, at the time limit, or dropped.
        broken_before: `[S, E]` bool: the episode in flight before this batch was dropped, so the track's last
            row before it, delivered with `ended` false, was the last of its episode.
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
    """`T` steps of `n` environments, being filled in: `step` of them everywhere, `filled` `[n]` of each."""

    def __init__(self, steps: int, environments: int, observation_size: int, action_size: int) -> None:
        n, T = environments, steps
        self.observations = np.empty((n, T, observation_size), np.float32)
        self.actions = np.empty((n, T, action_size), np.float32)
        self.rewards = np.empty((n, T), np.float32)
        self.next_observations = np.empty((n, T, observation_size), np.float32)
        self.terminated = np.empty((n, T), np.bool_)
        self.ended = np.zeros((n, T), np.bool_)
        self.filled = np.zeros(n, np.int64)
        self.step = 0

    def collected(self, seeds: int, broken_before: NDArray[np.bool_]) -> Collected:
        """The rows by seed, without a copy."""

        def column(array: NDArray[Any]) -> Tensor:
            return torch.from_numpy(array).view(seeds, -1, *array.shape[2:])

        return Collected(
            observations=column(self.observations),
            actions=column(self.actions),
            rewards=column(self.rewards),
            next_observations=column(self.next_observations),
            terminated=column(self.terminated),
            ended=column(self.ended),
            broken_before=torch.from_numpy(broken_before).view(seeds, -1),
        )
