"""The checks that every dataset passes before training."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cqlbench.data.transitions import Floats, Transitions
from cqlbench.errors import DatasetError

_ROUNDING = 1e-5


def check(transitions: Transitions, action_low: ArrayLike = -1.0, action_high: ArrayLike = 1.0) -> None:
    """Refuse a dataset that would train something else than it says.

    Checks that values are finite, that actions are inside their box (discrete ones: one-hot), that end flags
    stand only at the ends of episodes, and that inside an episode a row's next observation is the following
    row's observation.

    Args:
        transitions: the dataset.
        action_low: the lowest action, `[A]` or one number.
        action_high: the highest action, `[A]` or one number.

    Raises:
        DatasetError: the first check that fails, with the field and the first row.
    """
    _check_finite(transitions)
    if transitions.discrete_actions:
        _check_one_hot(transitions.actions)
    else:
        _check_actions(
            transitions.actions, np.asarray(action_low, np.float64), np.asarray(action_high, np.float64)
        )
    _check_episodes(transitions)
    broken = jumps(transitions.observations, transitions.next_observations)
    broken = np.setdiff1d(broken, transitions.episode_ends)
    if len(broken):
        raise DatasetError(
            f"At row {broken[0]} (and {len(broken) - 1} more) the next observation is not the observation of "
            "the following row although the episode goes on; put the rows in order or flag the episode's end."
        )


def jumps(observations: Floats, next_observations: Floats) -> NDArray[np.int64]:
    """Rows, ascending, whose next observation is not the following row's observation, up to rounding.

    Args:
        observations: `[T, O]`.
        next_observations: `[T, O]`.
    """
    after = observations[1:]
    differs = (next_observations[:-1] != after).any(axis=1)
    rows = np.flatnonzero(differs)
    if not len(rows):
        return rows
    close = np.isclose(next_observations[rows], after[rows], rtol=_ROUNDING, atol=_ROUNDING)
    return rows[~close.all(axis=1)]


def _check_finite(transitions: Transitions) -> None:
    for name in ("observations", "actions", "rewards", "next_observations"):
        finite = np.isfinite(getattr(transitions, name))
        if not finite.all():
            row = int(np.argwhere(~finite)[0, 0])
            raise DatasetError(
                f"'{name}' holds NaN or infinity, first at row {row}; repair or leave out that row."
            )


def _check_actions(actions: Floats, low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
    slack = _ROUNDING * (high - low)
    outside = ((actions < low - slack) | (actions > high + slack)).any(axis=1)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise DatasetError(
            f"The action of row {row} is {actions[row].tolist()}, outside the bounds {low.tolist()} to "
            f"{high.tolist()} ({int(outside.sum())} rows in all); scale the file's actions to the bounds."
        )


def _check_one_hot(actions: Floats) -> None:
    wrong = np.flatnonzero((actions.max(1) != 1) | (np.abs(actions).sum(1) != 1))
    if len(wrong):
        raise DatasetError(
            f"The action of row {wrong[0]} is {actions[wrong[0]].tolist()}, but a discrete action is a row "
            f"of zeros with one 1 ({len(wrong)} rows in all)."
        )


def _check_episodes(transitions: Transitions) -> None:
    starts = transitions.episode_starts
    if len(starts) == 0 or starts[0] != 0 or (np.diff(starts) <= 0).any() or starts[-1] >= len(transitions):
        raise DatasetError("'episode_starts' must begin with 0, ascend, and stay below the number of rows.")
    flagged = np.flatnonzero(transitions.terminated | transitions.truncated)
    inside = np.setdiff1d(flagged, transitions.episode_ends)
    if len(inside):
        raise DatasetError(
            f"Row {inside[0]} (and {len(inside) - 1} more) is flagged as an end although its episode goes "
            "on; split the episode there or clear the flag."
        )
