"""The one in-memory form of a dataset, and the timeline that defines it."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cqlbench.core.errors import DatasetError

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]

COLUMNS = ("observations", "actions", "rewards", "next_observations", "terminated", "truncated")
"""The arrays of `Transitions` with a row for each transition."""


@dataclass(frozen=True)
class Transitions:
    """`T` transitions in the order in which they were collected, episode after episode.

    The timeline of one episode, row by row::

        row t     observations[t] --actions[t]--> rewards[t], next_observations[t]
        row t+1   observations[t+1] == next_observations[t]        (the same episode goes on)
        ...
        last row  one of three ends:
                  terminated[t]  the task ended itself: the value of next_observations[t] is 0
                  truncated[t]   a time limit cut it: bootstrap from next_observations[t], which is the
                                 state really reached, never the next episode's first state
                  neither        the recording stops here (file cut short, or the true next state of the
                                 following row is unknown and that row was dropped): bootstrap as well

    A row whose next observation is unknown is not here at all: readers drop and count it in `dropped_rows`.
    The one exception is a terminal row: it carries the signal of failing or succeeding, and the value after
    it is 0 wherever it leads, so it stays, with its own observation as `next_observations[t]`, and a note.

    Attributes:
        observations: `[T, O]` float32.
        actions: `[T, A]` float32; discrete ones as one-hot rows.
        rewards: `[T]` float32, the reward of `actions[t]`.
        next_observations: `[T, O]` float32.
        terminated: `[T]` bool.
        truncated: `[T]` bool. A row may be both; `terminated` then decides the value.
        episode_starts: `[E]` int64, ascending row numbers; the first is 0 and no episode is empty.
        dropped_rows: rows of the source left out because their next observation is unknown.
        reward_mass: the sum of |reward| over the source's rows, dropped ones included; `None`: not known.
        continuations: `[C]` int64, those of `episode_starts` where the recording merely went on after a row
            that counts as terminal (D4RL's antmaze at its goal): rows to train on, but no episode's return.
        notes: what a reader did that its caller should tell the user, one sentence each.
        discrete_actions: whether an action is one of A to choose from, and not A numbers.
    """

    observations: Floats
    actions: Floats
    rewards: Floats
    next_observations: Floats
    terminated: Flags
    truncated: Flags
    episode_starts: NDArray[np.int64]
    dropped_rows: int = 0
    reward_mass: float | None = None
    continuations: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    notes: tuple[str, ...] = field(default=())
    discrete_actions: bool = False

    def __post_init__(self) -> None:
        rows = len(self.observations)
        if rows == 0:
            raise DatasetError("The dataset holds no transitions.")
        sizes = {"observations": self.observations.shape[-1:], "actions": self.actions.shape[-1:]}
        sizes["next_observations"] = sizes["observations"]
        for name in COLUMNS:
            array, shape = getattr(self, name), (rows, *sizes.get(name, ()))
            dtype = np.dtype(np.bool_ if name in ("terminated", "truncated") else np.float32)
            if (array.shape, array.dtype) != (shape, dtype):
                raise DatasetError(
                    f"'{name}' is {array.dtype} {array.shape}, but {dtype} {shape} was expected."
                )

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def observation_size(self) -> int:
        """`O`."""
        return int(self.observations.shape[1])

    @property
    def action_size(self) -> int:
        """`A`."""
        return int(self.actions.shape[1])

    @property
    def episode_returns(self) -> NDArray[np.float64]:
        """`[E]`: the undiscounted sum of rewards of each episode, summed in float64."""
        return np.add.reduceat(self.rewards.astype(np.float64), self.episode_starts)

    @property
    def episode_lengths(self) -> NDArray[np.int64]:
        """`[E]`: rows of each episode."""
        return np.diff(np.append(self.episode_starts, len(self)))

    @property
    def episode_ends(self) -> NDArray[np.int64]:
        """`[E]`: the last row of each episode."""
        return self.episode_starts + self.episode_lengths - 1

    @property
    def whole_episodes(self) -> NDArray[np.bool_]:
        """`[E]`: episodes whose return counts: not cut off by the recording, nor what followed a goal.

        Should there be none, all count.
        """
        ends = self.episode_ends
        whole = self.terminated[ends] | self.truncated[ends]
        if self.dropped_rows:
            # A reader that drops time-limit rows drops their flag too: only the last episode may be cut off.
            whole[:-1] = True
        whole &= ~np.isin(self.episode_starts, self.continuations)
        return whole if whole.any() else np.ones_like(whole)
