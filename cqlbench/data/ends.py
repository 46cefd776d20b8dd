"""Are episode ends what they say? Flags that are inverted, missing, or mark time limits as well."""

import numpy as np
from numpy.typing import NDArray

from cqlbench.data.findings import Expected, Finding, Severity, found
from cqlbench.data.readers.column_names import as_key
from cqlbench.data.transitions import Floats, Transitions

_NUMBER, _LENGTHS = "episode ends", "episode lengths"

_FEW = 100
"""Of fewer rows nothing is said of which of them end an episode."""

_LONG = 1000
"""Rows, a usual time limit, without any end."""

_ALIKE = 5
"""Episodes that must agree before they are evidence."""

_DIMENSIONS = 3
"""Fewer observed numbers come back to where they were by chance, or, as angles do, by a full turn."""

_SAMPLE = 20_000
_BLOCK = 1 << 13

_TRUST = "if they are right, import the data with ends=trusted"
_LIMITS = (
    "flagged as terminated, which makes the values after them 0: flag time limits as truncated ('timeouts'), "
    f"or import the file with ends=time_limits; {_TRUST}."
)


def examine_ends(transitions: Transitions, expected: Expected) -> list[Finding]:
    """Findings on how many ends there are and, unless that is an error, on the lengths of episodes.

    Of ends that are trusted only what the time limit says against them is a warning.
    """
    limit = expected.episode_limit
    if expected.trusted_ends:
        lengths = Finding(_LENGTHS) if limit is None else _limited(transitions, limit, "warning")
        return [Finding(_NUMBER), lengths]
    number = _number(transitions, limit)
    return [number] if number.severity == "error" else [number, _lengths(transitions, limit)]


def _number(transitions: Transitions, limit: int | None) -> Finding:
    rows = len(transitions) + transitions.dropped_rows
    flagged = np.flatnonzero(transitions.terminated | transitions.truncated)
    ends = len(flagged) + transitions.dropped_rows
    if rows >= _FEW and 2 * ends > rows and not len(transitions.continuations):
        terminated = np.count_nonzero(transitions.terminated)
        # Time limits whose rows were dropped had a flag as well.
        truncated = np.count_nonzero(transitions.truncated) + transitions.dropped_rows
        column, mend = "terminals", "ends=inverted"
        if truncated > terminated:
            column, mend = "timeouts", f"{as_key({'timeouts': ''})}, or repair it"
        message = (
            f"{ends} of {rows} rows end an episode: '{column}' that are 1 while the episode goes on are "
            f"inverted (import the file with {mend}); {_TRUST}."
        )
        return found(_NUMBER, "error", flagged, message)
    starts, lengths = transitions.episode_starts, transitions.episode_lengths
    longest = int(lengths.argmax())
    start, length = int(starts[longest]), int(lengths[longest])
    if length < _FEW:
        return Finding(_NUMBER)
    mend = (
        "mark them in 'terminals' and 'timeouts' (columns= names others), or import the file with "
        "max_episode_steps= if each has as many steps"
    )
    observations = transitions.observations
    back = start + _put_back(observations[start : start + length], observations[:1])
    # Some tasks put the agent back within an episode; where ends are missing, more are so than are there.
    if len(back) >= max(_ALIKE, len(starts)):
        message = (
            f"The {length} rows from row {start} are one episode, although after row {back[0]} and "
            f"{len(back) - 1} more the observation jumps back to the file's first: ends are missing; {mend}; "
            f"{_TRUST}."
        )
        certain = transitions.observation_size >= _DIMENSIONS
        return found(_NUMBER, "error" if certain else "warning", back, message)
    if len(starts) > 1:
        return Finding(_NUMBER)
    if limit is not None and rows > limit:
        message = (
            f"The {rows} rows are one episode, but the time limit is {limit} steps: ends are missing; {mend}."
        )
        return found(_NUMBER, "error", [0], message)
    if rows > _LONG and not len(flagged):
        message = f"No row ends an episode, of {rows} in all: if they are more than one episode, {mend}."
        return found(_NUMBER, "warning", [0], message)
    return Finding(_NUMBER)


def _lengths(transitions: Transitions, limit: int | None) -> Finding:
    both = np.flatnonzero(transitions.truncated & transitions.terminated)
    enough = len(both) >= _ALIKE and len(transitions) >= _FEW and transitions.dropped_rows <= 1
    if enough and len(both) == np.count_nonzero(transitions.truncated):
        return found(_LENGTHS, "error", both, f"All {len(both)} time limits are {_LIMITS}")
    return _tied(transitions) if limit is None else _limited(transitions, limit, "error")


def _limited(transitions: Transitions, limit: int, severity: Severity) -> Finding:
    """Where the time limit is known: no episode may be longer, nor all that reach it end themselves."""
    lengths = transitions.episode_lengths
    long = np.flatnonzero(lengths > limit)
    if len(long):
        rows = transitions.episode_starts[long]
        message = (
            f"{len(long)} episodes, first at row {rows[0]}, are longer than the time limit of {limit} steps "
            f"(the longest has {int(lengths.max())}); are ends missing in the file?"
        )
        return found(_LENGTHS, "warning", rows, message)
    ends = transitions.episode_ends[lengths == limit]
    ended = ends[transitions.terminated[ends]]
    # A time limit's row that was dropped leaves its episode one row shorter, so those that are as long as the
    # limit are then the ones that ended themselves.
    others = lengths[:-1][~transitions.terminated[transitions.episode_ends[:-1]]]
    shortened = transitions.dropped_rows and (others == limit - 1).any()
    if len(ended) > 1 and len(ended) == len(ends) and not shortened:
        message = f"All {len(ends)} episodes of {limit} steps, the time limit, are {_LIMITS}"
        return found(_LENGTHS, severity if len(ended) >= _ALIKE else "warning", ended, message)
    return Finding(_LENGTHS)


def _tied(transitions: Transitions) -> Finding:
    """Where no time limit is known: do many episodes end themselves at one length that none exceeds?"""
    lengths = transitions.episode_lengths
    longest = int(lengths.max())
    ends = transitions.episode_ends[lengths == longest]
    rivals = np.bincount(lengths[(lengths > longest // 2) & (lengths < longest)], minlength=1).max()
    if (
        longest < 2 * _ALIKE
        or len(ends) < max(_ALIKE, 3 * rivals)
        or not transitions.terminated[ends].all()
        or transitions.truncated.any()
        or transitions.dropped_rows > 1
    ):
        return Finding(_LENGTHS)
    message = f"{len(ends)} episodes have exactly {longest} steps and none has more, but they are {_LIMITS}"
    return found(_LENGTHS, "warning", ends, message)


def _put_back(observations: Floats, first: Floats) -> NDArray[np.int64]:
    """Rows after which the observation is back beside `first`, in a step that is longer than usual."""
    steps = len(observations) - 1
    sampled = np.linspace(0, steps - 1, min(steps, _SAMPLE)).astype(np.int64)
    spread = observations[sampled].std(axis=0)
    spread[spread == 0] = np.inf

    def distances(ones: Floats, others: Floats) -> Floats:
        squares: Floats = np.square((ones - others) / spread).sum(axis=1)
        return np.sqrt(squares)

    far = float(np.median(distances(observations[sampled], first)))
    usual = float(np.median(distances(observations[sampled], observations[sampled + 1])))
    back = []
    for start in range(0, steps, _BLOCK):
        block = observations[start : start + _BLOCK + 1]
        near = distances(block[1:], first) < 0.2 * far
        moved = distances(block[1:], block[:-1]) > max(1.5 * usual, 0.5 * far)
        back.append(start + np.flatnonzero(near & moved))
    return np.concatenate(back)
