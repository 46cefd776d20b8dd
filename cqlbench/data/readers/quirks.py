"""What is on record about published files that do not mean what they say: named, and mended, by their cards.

A card lists the quirks of its file (`quirks = ["timeouts_mark_goals"]`); `cards.QUIRKS` says what each means.
Those that a reader must act on have a function here, which changes a `Recording` in place and returns a note.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cqlbench.core.errors import DatasetError
from cqlbench.data.cards import QUIRKS
from cqlbench.data.transitions import Flags, Floats
from cqlbench.data.validate import jumps

_POSITION = 2
"""Leading observation dimensions of D4RL's mazes that hold the position."""

_JUMP = 10.0
"""An ant that moves so many times its mean distance in one step was put back to a start."""

_MOST_ENDS = 0.05
"""Of the rows; where more states do not follow, they are others."""


@dataclass
class Recording:
    """A file's columns while they are made into transitions.

    Attributes:
        observations: `[T, O]`.
        actions: `[T, A]`.
        rewards: `[T]`.
        terminals: `[T]`.
        timeouts: `[T]`, if the file has them or a quirk found them.
        following: `[T, O]` next observations, if the file has them.
        useless: `[T]`, rows that hold no true transition.
        states: `[T, O]`, what the file's infos say of the simulator's state, if it does and a quirk asks.
        goes_on: the row after any other is its next state, whatever flags say.
        goes_on_at_terminals: the row after a terminal one is its next state, unless an episode ends there.
        discrete_actions: whether `actions` are one-hot rows.
        episode_limit: the time limit in steps, if known.
    """

    observations: Floats
    actions: Floats
    rewards: Floats
    terminals: Flags
    timeouts: Flags | None
    following: Floats | None
    useless: Flags
    states: Floats | None = None
    goes_on: bool = False
    goes_on_at_terminals: bool = False
    discrete_actions: bool = False
    episode_limit: int | None = None


def apply(recording: Recording, names: tuple[str, ...]) -> list[str]:
    """Mend `recording` in place, and return one note for each of `names` that is no reader's only to know.

    Raises:
        DatasetError: the file cannot have that quirk.
    """
    notes = [mend(recording) for name, mend in MENDED.items() if name in names]
    return notes + [f"On record: {QUIRKS[name]}." for name in names if name not in MENDED]


def _position_jumps(observations: Floats) -> NDArray[np.int64]:
    """Rows after which the position jumps farther than anything walks: an episode ended there."""
    distance = np.linalg.norm(np.diff(observations[:, :_POSITION], axis=0), axis=1)
    return np.flatnonzero(distance > _JUMP * distance.mean()) if len(distance) else np.zeros(0, np.int64)


def _infos_hold_states(recording: Recording) -> str:
    # D4RL's scripts note a state after the step in antmaze, before it in maze2d: the file shows which.
    states, observations, timeouts = recording.states, recording.observations, recording.timeouts
    if states is None:
        return "The file has no 'infos/qpos' and 'infos/qvel' of which its observations consist."
    if len(jumps(observations, states)) <= _MOST_ENDS * len(observations):
        recording.following = states
        return "Next observations are the states in the file's 'infos', also where an episode ends."
    stale = 1 + jumps(observations, np.concatenate([states[1:], states[-1:]]))
    if timeouts is None or not timeouts[stale - 1].all():
        return "The states in the file's 'infos' are not those of its observations, and were not read."
    observations[stale] = states[stale]
    recording.goes_on = True
    return (
        f"{len(stale)} observations that repeated the one before were replaced by the state in the file's "
        "'infos'; the reward for reaching it is that of the state before."
    )


def _timeouts_out_of_step(recording: Recording) -> str:
    observations, following = recording.observations, recording.following
    found = _position_jumps(observations) if following is None else jumps(observations, following)
    recording.timeouts = np.zeros_like(recording.terminals)
    recording.timeouts[found] = True
    return (
        f"The file's 'timeouts' are not where episodes end (D4RL issues 77 and 146): {len(found)} ends were "
        "found where the position jumps."
    )


def _timeouts_mark_goals(recording: Recording) -> str:
    # The recorder wrote the first row towards the new goal with the observation of the row before, although
    # the simulator had moved on (D4RL issue 204): what its action started from is not in the file.
    if recording.timeouts is None:
        raise DatasetError("The card's quirk 'timeouts_mark_goals' needs a file with 'timeouts'.")
    lead = "The file's 'timeouts' mark goals that were reached, not time limits (D4RL issue 85): "
    if recording.goes_on:
        return f"{lead}the recording goes on over them."
    before = np.flatnonzero(recording.timeouts[:-1])
    repeats = (recording.observations[before] == recording.observations[before + 1]).all(axis=1)
    recording.useless[before[repeats] + 1] = True
    return f"{lead}{int(repeats.sum())} rows after them repeat the observation before and were dropped."


def _rewards_of_the_state(recording: Recording) -> str:
    if recording.following is not None or recording.terminals.any():
        raise DatasetError(
            "The card's quirk 'rewards_of_the_state' needs a file without terminals and 'next_observations'."
        )
    recording.rewards[:-1] = recording.rewards[1:].copy()
    recording.useless[-1] = True
    return (
        "The file's rewards stood one row late (D4RL issue 194): each was moved to the action that earned it."
    )


def _labels_of_next_row(recording: Recording) -> str:
    last = np.zeros_like(recording.terminals) if recording.timeouts is None else recording.timeouts.copy()
    last[-1] = True
    # Where the row before has the goal near, this one's true reward is not 0 but unknown.
    near = recording.terminals | np.append(False, recording.terminals[:-1] & ~last[:-1])
    unknown = last & near
    recording.useless |= unknown
    recording.rewards[unknown] = 0.0
    return (
        "The file's rewards and terminals are for the following row's observation, also where that begins "
        f"another episode: {int(unknown.sum())} last rows of episodes, at the goal or said so, were dropped."
    )


def _terminals_mark_goals(recording: Recording) -> str:
    recording.goes_on_at_terminals = True
    return (
        "The file's 'terminals' mark rows at the goal where the recording goes on: each ends an episode, and "
        "what follows up to the next time limit is trained on, but counts as no episode's return."
    )


def _terminals_are_inverted(recording: Recording) -> str:
    recording.terminals = ~recording.terminals
    return "The file's 'terminals' are 1 where the episode goes on, and were inverted."


def _time_limits_in_terminals(recording: Recording) -> str:
    terminals = recording.terminals
    timeouts = np.zeros_like(terminals) if recording.timeouts is None else recording.timeouts
    ends = np.flatnonzero(terminals | timeouts)
    lengths = np.diff(ends, prepend=-1)
    limit = recording.episode_limit or lengths.max(initial=0)
    timeouts[ends[lengths == limit]] = True
    limits = int((terminals & timeouts).sum())
    if not limits:
        raise DatasetError(
            f"No terminal marks a time limit: no episode that ends itself has {limit} steps; leave out "
            "ends=time_limits, or give the recording's time limit, max_episode_steps=."
        )
    terminals[timeouts] = False
    recording.timeouts = timeouts
    return (
        f"The file's 'terminals' mark time limits too: {limits} of them, after {limit} steps, as many as "
        f"{'the time limit' if recording.episode_limit else 'the longest episode'} has, or beside a timeout, "
        "count as time limits."
    )


MENDED: Mapping[str, Callable[[Recording], str]] = {
    "infos_hold_states": _infos_hold_states,
    "timeouts_out_of_step": _timeouts_out_of_step,
    "labels_of_next_row": _labels_of_next_row,
    "timeouts_mark_goals": _timeouts_mark_goals,
    "rewards_of_the_state": _rewards_of_the_state,
    "terminals_mark_goals": _terminals_mark_goals,
    "terminals_are_inverted": _terminals_are_inverted,
    "time_limits_in_terminals": _time_limits_in_terminals,
}
