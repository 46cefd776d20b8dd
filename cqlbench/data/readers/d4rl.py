"""D4RL's published schema, in HDF5 or npz -> `Transitions`."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cqlbench.core.errors import DatasetError
from cqlbench.data.cards import Card
from cqlbench.data.readers import column_names, discrete, files, quirks
from cqlbench.data.readers.arrays import Arrays, keep_rows, shown
from cqlbench.data.readers.column_names import OPTIONAL, REQUIRED
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

_NO_CARD = Card(id="", source="path")


def read_d4rl(path: str | Path, card: Card = _NO_CARD) -> Transitions:
    """Read a file with D4RL's keys; everything else in it (`metadata/*`, most `infos/*`) is ignored.

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
        card: what is said of its arrays: quirks, time limit, columns and kind of actions.

    Raises:
        DatasetError: the file is missing, damaged, lacks keys, or holds arrays that do not fit together.
    """
    recording, notes = _recorded(Path(path), card)
    notes += quirks.apply(recording, card.quirks)
    mass = float(np.abs(recording.rewards, dtype=np.float64).sum())
    if recording.timeouts is None:
        recording.timeouts, note = _timeouts(recording)
        notes.append(note)
    ends = recording.terminals | recording.timeouts
    starts, kept = np.append(True, ends[:-1]), ~recording.useless
    following = recording.following
    if following is None:
        following, known = _following(recording, notes)
        kept &= known
        if not kept.any():
            raise DatasetError(
                f"{path} holds no transitions that can be used: it has no 'next_observations', and no row is "
                "followed by another of the same episode."
            )
    elif len(cuts := _cuts(recording, ends, _MOST_CUTS)):
        starts[cuts + 1] = True
        notes.append(
            f"{len(cuts)} rows, first row {cuts[0]}, are followed by another state than their next "
            "observation although no end is flagged: taken as cuts of the recording, with bootstrapping."
        )
    numbers = np.cumsum(starts)
    goes_on = recording.terminals & ~recording.timeouts & recording.goes_on_at_terminals
    continuing = numbers[1:][goes_on[:-1]]
    numbers = numbers[kept]  # dropping rows may leave nothing of an episode
    first_rows = np.flatnonzero(np.diff(numbers, prepend=0))
    return Transitions(
        keep_rows(recording.observations, kept),
        keep_rows(recording.actions, kept),
        keep_rows(recording.rewards, kept),
        keep_rows(following, kept),
        keep_rows(recording.terminals, kept),
        keep_rows(recording.timeouts, kept),
        episode_starts=first_rows,
        dropped_rows=int((~kept).sum()),
        reward_mass=mass,
        continuations=first_rows[np.isin(numbers[first_rows], continuing)],
        notes=tuple(notes),
        discrete_actions=recording.discrete_actions,
    )


def has_discrete_actions(path: Path, card: Card = _NO_CARD) -> bool:
    """Whether `read_d4rl` finds discrete actions in a file; of most continuous ones only the head is read.

    False where the file cannot be read, or the actions may be either kind: `read_d4rl` then says why.
    """
    with contextlib.suppress(DatasetError), files.opened(path, card.observation_keys) as table:
        name = _names(table, card.columns)["actions"]
        return (
            discrete.may_be_discrete(_stored_actions(table, name, _HEAD))
            and _actions(table, name, card).discrete
        )
    return False


def _stored_actions(table: Arrays, name: str, rows: int | None = None) -> Floats:
    if table.dtype(name).kind == "b":  # one of two
        return table.flags(name)[:rows].astype(np.float32)
    return table.floats(name, None, rows)


def _actions(table: Arrays, name: str, card: Card) -> discrete.Actions:
    values = _stored_actions(table, name)
    return discrete.decode(values, table.dtype(name), card.actions, card.action_count, table.where(name))


def _names(table: Arrays, columns: Mapping[str, str]) -> dict[str, str]:
    """Our names of the columns that are there -> the file's.

    Raises:
        DatasetError: some that are needed are not, or one that `columns` names.
    """
    present = table.members()
    names = {
        key: columns.get(key, key) for key in (*REQUIRED, *OPTIONAL) if key in present or columns.get(key)
    }
    names = {key: name for key, name in names.items() if name}
    if unknown := [name for name in columns.values() if name and name not in table.names()]:
        raise DatasetError(
            f"{table.path} lacks {', '.join(unknown)}, which columns= names (it has: {shown(table.names())})."
        )
    optional = {"terminals"} & set(columns)  # nothing ends itself, says the user
    if missing := [key for key in REQUIRED if key not in names and key not in optional]:
        raise DatasetError(
            f"{table.path} lacks {', '.join(missing)} (it has: {shown(present)})"
            f"{_hint(missing, names, table, columns)}"
        )
    return names


def _recorded(path: Path, card: Card) -> tuple[Recording, list[str]]:
    """A file's columns, and notes on them."""
    with files.opened(path, card.observation_keys) as table:
        names = _names(table, card.columns)
        observations = table.floats(names["observations"], dimensions=2)
        actions = _actions(table, names["actions"], card)
        flags = {key: table.flags(names[key]) for key in ("terminals", "timeouts") if key in names}
        following = names.get("next_observations")
        recording = Recording(
            observations=observations,
            actions=actions.values,
            discrete_actions=actions.discrete,
            rewards=table.floats(names["rewards"], dimensions=1),
            terminals=flags.get("terminals", np.zeros(len(observations), np.bool_)),
            timeouts=flags.get("timeouts"),
            following=table.floats(following, dimensions=2) if following else None,
            useless=np.zeros(len(observations), np.bool_),
            states=_states(table, observations.shape) if "infos_hold_states" in card.quirks else None,
            episode_limit=card.recorded_limit,
        )
        unused = set(table.members()) - set(card.columns.values())
    _check_shapes(recording, path)
    notes = [*table.notes, *filter(None, [actions.note])]
    if near := column_names.near(_unread(names, card.columns), unused):
        notes.append(
            f"Not read: {', '.join(near.values())}; if they are {' and '.join(near)}, import the file with "
            f"{column_names.as_key({**card.columns, **near})}."
        )
    return recording, notes


def _states(table: Arrays, shape: tuple[int, ...]) -> Floats | None:
    """What the simulator held beside each row, if as many numbers as were observed."""
    if not {"infos/qpos", "infos/qvel"} <= set(table.names()):
        return None
    parts = [table.floats(f"infos/{name}", dimensions=2) for name in ("qpos", "qvel")]
    fits = (*map(len, parts), sum(part.shape[1] for part in parts)) == (shape[0], *shape)
    return np.hstack(parts) if fits else None


def _hint(missing: list[str], names: Mapping[str, str], table: Arrays, columns: Mapping[str, str]) -> str:
    """How the sentence on missing columns ends: with what to do, if that is known."""
    if any(name.startswith("episode_") for name in table.members()):
        return "; it looks like part of a Minari dataset: give the path of the dataset's folder instead."
    unused = set(table.names()) - set(columns.values())
    near = column_names.near(missing, unused, guess=True)
    if not near:
        return table.hint
    near |= column_names.near(_unread(names, columns), unused)
    return f"; if these are they, import the file with {column_names.as_key({**columns, **near})}."


def _unread(names: Mapping[str, str], columns: Mapping[str, str]) -> list[str]:
    """Optional columns that the file lacks and the user said nothing of."""
    return [key for key in OPTIONAL if key not in names and key not in columns]


def _check_shapes(recording: Recording, path: Path) -> None:
    shape = recording.observations.shape
    if not shape[0]:
        raise DatasetError(f"{path} holds no transitions: 'observations' has no rows.")
    for key, array, axes in (
        ("actions", recording.actions, 1),
        ("rewards", recording.rewards, 1),
        ("terminals", recording.terminals, 1),
        ("timeouts", recording.timeouts, 1),
        ("next_observations", recording.following, 2),
    ):
        if array is not None and array.shape[:axes] != shape[:axes]:
            raise DatasetError(
                f"'{key}' of {path} has the shape {list(array.shape)}, but 'observations' has {list(shape)}; "
                "export the file again."
            )


def _timeouts(recording: Recording) -> tuple[Flags, str]:
    """`timeouts` of a file that has none, and how they were found."""
    timeouts = np.zeros_like(recording.terminals)
    lead = "The file has no 'timeouts': "
    if recording.following is not None:
        timeouts[_cuts(recording, recording.terminals, _MOST_CUTS_WITHOUT_TIMEOUTS)] = True
        how = "where a next observation is not the following row's"
    elif recording.episode_limit is not None:
        rows, starts = np.arange(len(timeouts)), np.append(True, recording.terminals[:-1])
        steps = 1 + rows - np.maximum.accumulate(rows * starts)
        timeouts = (steps % recording.episode_limit == 0) & ~recording.terminals
        how = f"by counting {recording.episode_limit} steps"
    else:
        return timeouts, f"{lead}only 'terminals' end episodes."
    return timeouts, f"{lead}besides 'terminals', {int(timeouts.sum())} ends were found {how}."


def _cuts(recording: Recording, ends: Flags, most: float) -> NDArray[np.int64]:
    """Unflagged rows that another episode follows; none if they are too many to be that."""
    assert recording.following is not None
    cuts = jumps(recording.observations, recording.following)
    cuts = cuts[~ends[cuts]]
    return cuts if len(cuts) <= most * len(ends) else cuts[:0]


def _following(recording: Recording, notes: list[str]) -> tuple[Floats, Flags]:
    """Next observations from the rows that follow, and the rows that have one."""
    observations, terminals = recording.observations, recording.terminals
    assert recording.timeouts is not None
    last = recording.timeouts.copy() if recording.goes_on_at_terminals else recording.timeouts | terminals
    last &= not recording.goes_on
    last[-1] = True
    following = np.empty_like(observations)
    following[:-1] = observations[1:]
    repeated = terminals & last
    following[repeated] = observations[repeated]
    if repeated.any():
        notes.append(
            f"The file has no 'next_observations': its {int(repeated.sum())} terminal rows repeat their own "
            "observation, whose value is never used."
        )
    known = terminals | ~last
    if unknown := int((~known & ~recording.useless).sum()):
        notes.append(
            f"{unknown} rows were dropped: what follows a time limit or the file's last row is unknown "
            "without 'next_observations'."
        )
    return following, known
