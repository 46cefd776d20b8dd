"""D4RL's published schema, in HDF5 or npz -> `Transitions`."""

import contextlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cqlbench.core.errors import DatasetError
from cqlbench.data.readers import column_names, discrete, files, quirks
from cqlbench.data.readers.arrays import keep_rows, shown
from cqlbench.data.readers.column_names import OPTIONAL, REQUIRED
from cqlbench.data.readers.layout import Layout
from cqlbench.data.readers.quirks import Recording
from cqlbench.data.transitions import Flags, Floats, Transitions
from cqlbench.data.validate import jumps

# rlkit, which recorded D4RL's replay files, can cut an episode at an epoch's end without a flag, every 1000
# rows at most. Ten times as many jumps are not cuts but rows in disorder: the validation refuses such a file.
_MOST_CUTS = 0.01

# A file without `timeouts` flags none of its time limits, and episodes may be short.
_MOST_CUTS_WITHOUT_TIMEOUTS = 0.2


_HEAD = 1 << 10
"""Rows that show of most files that their actions are continuous."""


def read_d4rl(
    path: str | Path,
    known_quirks: tuple[str, ...] = (),
    episode_limit: int | None = None,
    layout: Layout | None = None,
) -> Transitions:
    """Read a file with D4RL's keys; everything else in it (`infos/*`, `metadata/*`) is ignored.

    Keys: `observations [T, O]`, `actions [T, A]`, `rewards [T]`, `terminals [T]`, and optionally
    `timeouts [T]` and `next_observations [T, O]`; any float type, chunked or compressed or not, `[T, 1]` for
    `[T]`. See `datasets/README.md` for the timeline. Actions that are whole numbers `[T]`, or one-hot rows,
    are discrete (see `discrete.decode`).

    With `next_observations` every row is kept. Where such a row's next observation is not the following row's
    observation and no end is flagged, the recording was cut there, and an episode starts after it.

    Without `next_observations`, the next observation is the following row's while the episode goes on. What
    follows a time limit or the file's last row is unknown: these rows are dropped and counted. A terminal row
    is kept, for it carries the reward of failing or succeeding, and repeats its own observation: the value
    after a terminal row is 0, so its target never looks there, and CQL's proposals a' ~ π(·|s'), which are
    drawn there, are drawn at a state that was really visited.

    Without `timeouts`, time limits are found again: by `next_observations`, or else by counting rows.

    Args:
        path: an HDF5 file, or an npz file if it is called so.
        known_quirks: what the card says of the file (`cards.QUIRKS`).
        episode_limit: the time limit in steps, if known; used where the file's flags do not tell it.
        layout: what its card says of its arrays.

    Raises:
        DatasetError: the file is missing, damaged, lacks keys, or holds arrays that do not fit together.
    """
    path = Path(path)
    recording, notes = _columns(path, layout or Layout())
    recording.episode_limit = episode_limit
    mass = float(np.abs(recording.rewards, dtype=np.float64).sum())
    notes += quirks.apply(recording, known_quirks)
    if recording.timeouts is None:
        recording.timeouts, note = _rederived(recording)
        notes.append(note)
    if recording.following is None:
        return _without_next_observations(recording, recording.timeouts, mass, notes, path)
    ends = recording.terminals | recording.timeouts
    starts = _start_flags(ends)
    cuts = _cuts(recording, ends, _MOST_CUTS)
    if len(cuts):
        starts[cuts + 1] = True
        notes.append(
            f"{len(cuts)} rows, first row {cuts[0]}, are followed by another state than their next "
            "observation although no end is flagged: taken as cuts of the recording, with bootstrapping."
        )
    return Transitions(
        recording.observations,
        recording.actions,
        recording.rewards,
        recording.following,
        recording.terminals,
        recording.timeouts,
        np.flatnonzero(starts),
        reward_mass=mass,
        continuations=np.flatnonzero(_continuation_flags(recording, recording.timeouts)),
        notes=tuple(notes),
        discrete_actions=recording.discrete_actions,
    )


def has_discrete_actions(path: Path, layout: Layout | None = None) -> bool:
    """Whether `read_d4rl` finds discrete actions in a file; of most continuous ones only the head is read.

    False where the file cannot be read, or the actions may be either kind: `read_d4rl` then says why.
    """
    with contextlib.suppress(DatasetError), files.opened(path, layout) as table:
        if discrete.may_be_discrete(_stored_actions(table, _HEAD)):
            return _actions(table, layout or Layout()).discrete
    return False


def _stored_actions(table: files.Table, rows: int | None = None) -> Floats:
    if table.dtype("actions").kind == "b":  # one of two
        return table.flags("actions")[:rows].astype(np.float32)
    return table.floats("actions", None, rows)


def _actions(table: files.Table, layout: Layout) -> discrete.Actions:
    values, dtype = _stored_actions(table), table.dtype("actions")
    return discrete.decode(values, dtype, layout.actions, layout.action_count, "actions", table.path)


def _columns(path: Path, layout: Layout) -> tuple[Recording, list[str]]:
    """A file's columns, and notes on them."""
    with files.opened(path, layout) as table:
        present = table.keys()
        missing = [key for key in REQUIRED if key not in present]
        if "terminals" in missing and "terminals" in layout.columns:
            missing.remove("terminals")  # nothing ends itself, says the user
        if missing:
            raise DatasetError(
                f"{path} lacks {', '.join(missing)} (it has: {shown(present)}){_hint(missing, table, layout)}"
            )
        observations = table.floats("observations", dimensions=2)
        actions = _actions(table, layout)
        recording = Recording(
            observations=observations,
            actions=actions.values,
            discrete_actions=actions.discrete,
            rewards=table.floats("rewards", dimensions=1),
            terminals=(
                table.flags("terminals") if "terminals" in present else np.zeros(len(observations), np.bool_)
            ),
            timeouts=table.flags("timeouts") if "timeouts" in present else None,
            following=table.floats("next_observations", 2) if "next_observations" in present else None,
            useless=np.zeros(len(observations), np.bool_),
        )
    _check_lengths(recording, path)
    notes = [*table.notes, *filter(None, [actions.note])]
    if near := column_names.near(_unread(present, layout), set(present) - set(layout.columns.values())):
        notes.append(
            f"Not read: {', '.join(near.values())}; if they are {' and '.join(near)}, import the file with "
            f"{column_names.as_key({**layout.columns, **near})}."
        )
    return recording, notes


def _hint(missing: list[str], table: files.Table, layout: Layout) -> str:
    """How the sentence on missing columns ends: with what to do, if that is known."""
    present = table.keys()
    if any(name.startswith("episode_") for name in present):
        return "; it looks like part of a Minari dataset: give the path of the dataset's folder instead."
    unused = set(table.names()) - set(layout.columns.values())
    near = column_names.near(missing, unused, guess=True)
    if not near:
        return table.hint
    near |= column_names.near(_unread(present, layout), unused)
    return f"; if these are they, import the file with {column_names.as_key({**layout.columns, **near})}."


def _unread(present: list[str], layout: Layout) -> list[str]:
    """Optional columns that the file lacks and the user said nothing of."""
    return [key for key in OPTIONAL if key not in present and key not in layout.columns]


def _check_lengths(recording: Recording, path: Path) -> None:
    rows = len(recording.observations)
    if rows == 0:
        raise DatasetError(f"{path} holds no transitions: 'observations' has no rows.")
    for key, array in {
        "actions": recording.actions,
        "rewards": recording.rewards,
        "terminals": recording.terminals,
        "timeouts": recording.timeouts,
        "next_observations": recording.following,
    }.items():
        if array is not None and len(array) != rows:
            raise DatasetError(
                f"'{key}' of {path} has {len(array)} rows, but 'observations' has {rows}; "
                "export the file again."
            )
    following = recording.following
    if following is not None and following.shape != recording.observations.shape:
        raise DatasetError(
            f"'next_observations' of {path} has the shape {list(following.shape)}, but "
            f"'observations' has {list(recording.observations.shape)}; export the file again."
        )


def _rederived(recording: Recording) -> tuple[Flags, str]:
    """`timeouts` of a file that has none, and how they were found."""
    timeouts = np.zeros_like(recording.terminals)
    lead = "The file has no 'timeouts': "
    if recording.following is not None:
        found = _cuts(recording, recording.terminals, _MOST_CUTS_WITHOUT_TIMEOUTS)
        timeouts[found] = True
        return timeouts, (
            f"{lead}besides 'terminals', {len(found)} ends were found where a next observation is not the "
            "following row's."
        )
    if recording.episode_limit is None:
        return timeouts, f"{lead}only 'terminals' end episodes."
    starts = np.flatnonzero(_start_flags(recording.terminals))
    lengths = np.diff(np.append(starts, len(timeouts)))
    steps = np.arange(1, len(timeouts) + 1) - np.repeat(starts, lengths)
    timeouts = (steps % recording.episode_limit == 0) & ~recording.terminals
    return timeouts, (
        f"{lead}besides 'terminals', {int(timeouts.sum())} ends were found by counting "
        f"{recording.episode_limit} steps."
    )


def _cuts(recording: Recording, ends: Flags, most: float) -> NDArray[np.int64]:
    """Unflagged rows that another episode follows; none if they are too many to be that."""
    assert recording.following is not None
    cuts = jumps(recording.observations, recording.following)
    cuts = cuts[~ends[cuts]]
    return cuts if len(cuts) <= most * len(ends) else cuts[:0]


def _without_next_observations(
    recording: Recording, timeouts: Flags, mass: float, notes: list[str], path: Path
) -> Transitions:
    observations, terminals = recording.observations, recording.terminals
    last = timeouts | terminals
    if recording.goes_on_at_terminals:
        last = timeouts.copy()
    last[-1] = True
    kept = (terminals | ~last) & ~recording.useless
    if not kept.any():
        raise DatasetError(
            f"{path} holds no transitions that can be used: it has no 'next_observations', and no row is "
            "followed by another of the same episode."
        )
    following = np.empty_like(observations)
    following[:-1] = observations[1:]
    repeated = terminals & last
    following[repeated] = observations[repeated]
    if repeated.any():
        notes.append(
            f"The file has no 'next_observations': its {int(repeated.sum())} terminal rows repeat their own "
            "observation, whose value is never used."
        )
    unknown = int((~kept & ~recording.useless).sum())
    if unknown:
        notes.append(
            f"{unknown} rows were dropped: what follows a time limit or the file's last row is unknown "
            "without 'next_observations'."
        )
    # Episodes by number: dropping rows may leave nothing of one.
    numbers = np.cumsum(_start_flags(terminals | timeouts))
    continuing = numbers[_continuation_flags(recording, timeouts)]
    numbers = numbers[kept]
    starts = np.flatnonzero(np.diff(numbers, prepend=0))
    dropped = int((~kept).sum())
    return Transitions(
        keep_rows(observations, kept),
        keep_rows(recording.actions, kept),
        keep_rows(recording.rewards, kept),
        keep_rows(following, kept),
        keep_rows(terminals, kept),
        keep_rows(timeouts, kept),
        episode_starts=starts,
        dropped_rows=dropped,
        reward_mass=mass,
        continuations=starts[np.isin(numbers[starts], continuing)],
        notes=tuple(notes),
        discrete_actions=recording.discrete_actions,
    )


def _start_flags(ends: Flags) -> Flags:
    """`[T]`: whether an episode starts at a row: the first one, and each one after an end."""
    starts = np.empty_like(ends)
    starts[0] = True
    starts[1:] = ends[:-1]
    return starts


def _continuation_flags(recording: Recording, timeouts: Flags) -> Flags:
    """`[T]`: whether a row follows a terminal one in a recording that went on."""
    flags = np.zeros_like(timeouts)
    if recording.goes_on_at_terminals:
        flags[1:] = (recording.terminals & ~timeouts)[:-1]
    return flags
