"""D4RL's published HDF5 schema -> `Transitions`."""

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from cqlbench.data import hdf5
from cqlbench.data.lint import jumps
from cqlbench.data.transitions import Flags, Floats, Transitions
from cqlbench.errors import DatasetError

_REQUIRED = ("observations", "actions", "rewards", "terminals")
_OPTIONAL = ("next_observations", "timeouts")

# rlkit, which recorded D4RL's replay files, can cut an episode at an epoch's end without a flag, every 1000
# rows at most. Ten times as many jumps are not cuts but rows in disorder, and `lint` then refuses the file.
_MOST_CUTS = 0.01


def read_d4rl(path: str | Path) -> Transitions:
    """Read an HDF5 file with D4RL's keys; everything else in it (`infos/*`, `metadata/*`) is ignored.

    Keys: `observations [T, O]`, `actions [T, A]`, `rewards [T]`, `terminals [T]`, and optionally
    `timeouts [T]` and `next_observations [T, O]`; any float type, chunked or compressed or not, `[T, 1]` for
    `[T]`. See `datasets/README.md` for the timeline.

    With `next_observations` every row is kept. Where such a row's next observation is not the following row's
    observation and no end is flagged, the recording was cut there, and an episode starts after it.

    Without `next_observations`, the next observation is the following row's while the episode goes on. What
    follows a time limit or the file's last row is unknown: these rows are dropped and counted. A terminal row
    is kept, for it carries the reward of failing or succeeding, and repeats its own observation: the value
    after a terminal row is 0, so its target never looks there, and CQL's proposals a' ~ π(·|s'), which are
    drawn there, are drawn at a state that was really visited.

    Raises:
        DatasetError: the file is missing, damaged, lacks keys, or holds arrays that do not fit together.
    """
    path = Path(path)
    with hdf5.opened(path) as file:
        present = hdf5.members(file, path)
        hint = "."
        if any(name.startswith("episode_") for name in present):
            hint = "; it looks like part of a Minari dataset: give the path of the dataset's folder instead."
        hdf5.require_keys(file, _REQUIRED, path, hint)
        _check_lengths(file, path, [*_REQUIRED, *(key for key in _OPTIONAL if key in present)])
        observations = hdf5.floats(file, "observations", path, dimensions=2)
        actions = hdf5.floats(file, "actions", path, dimensions=2)
        rewards = hdf5.floats(file, "rewards", path, dimensions=1)
        terminals = hdf5.flags(file, "terminals", path)
        timeouts = hdf5.flags(file, "timeouts", path) if "timeouts" in present else None
        following = None
        if "next_observations" in present:
            following = hdf5.floats(file, "next_observations", path, dimensions=2)
            if following.shape != observations.shape:
                raise DatasetError(
                    f"'next_observations' of {path} has the shape {list(following.shape)}, but "
                    f"'observations' has {list(observations.shape)}; export the file again."
                )
    notes = []
    if timeouts is None:
        timeouts = np.zeros_like(terminals)
        notes.append("The file has no 'timeouts': only 'terminals' end episodes.")
    if following is not None:
        starts = _starts_between_cuts(observations, following, terminals | timeouts, notes)
        return Transitions(
            observations, actions, rewards, following, terminals, timeouts, starts, notes=tuple(notes)
        )
    return _without_next_observations(observations, actions, rewards, terminals, timeouts, notes, path)


def _check_lengths(file: h5py.File, path: Path, keys: list[str]) -> None:
    tables = ("observations", "next_observations", "actions")
    lengths = {key: hdf5.dataset(file, key, path, 2 if key in tables else 1).shape[0] for key in keys}
    rows = lengths["observations"]
    if rows == 0:
        raise DatasetError(f"{path} holds no transitions: 'observations' has no rows.")
    for key, length in lengths.items():
        if length != rows:
            raise DatasetError(
                f"'{key}' of {path} has {length} rows, but 'observations' has {rows}; export the file again."
            )


def _starts_between_cuts(
    observations: Floats, following: Floats, ends: Flags, notes: list[str]
) -> NDArray[np.int64]:
    starts = _start_flags(ends)
    cuts = jumps(observations, following)
    cuts = cuts[~ends[cuts]]
    if 0 < len(cuts) <= _MOST_CUTS * len(ends):
        starts[cuts + 1] = True
        notes.append(
            f"{len(cuts)} rows, first row {cuts[0]}, are followed by another state than their next "
            "observation although no end is flagged: taken as cuts of the recording, with bootstrapping."
        )
    return np.flatnonzero(starts)


def _without_next_observations(
    observations: Floats,
    actions: Floats,
    rewards: Floats,
    terminals: Flags,
    timeouts: Flags,
    notes: list[str],
    path: Path,
) -> Transitions:
    unknown = timeouts & ~terminals
    unknown[-1] = not terminals[-1]
    kept = ~unknown
    if not kept.any():
        raise DatasetError(
            f"{path} holds no transitions that can be used: it has no 'next_observations', and no row is "
            "followed by another of the same episode."
        )
    following = np.empty_like(observations)
    following[:-1] = observations[1:]
    following[terminals] = observations[terminals]
    if terminals.any():
        notes.append(
            f"The file has no 'next_observations': its {int(terminals.sum())} terminal rows repeat their own "
            "observation, whose value is never used."
        )
    dropped = int(unknown.sum())
    if not dropped:
        starts = np.flatnonzero(_start_flags(terminals | timeouts))
        return Transitions(
            observations, actions, rewards, following, terminals, timeouts, starts, notes=tuple(notes)
        )
    notes.append(
        f"{dropped} rows were dropped: what follows a time limit or the file's last row is unknown without "
        "'next_observations'."
    )
    episodes = np.cumsum(_start_flags(terminals | timeouts))[kept]
    return Transitions(
        observations[kept],
        actions[kept],
        rewards[kept],
        following[kept],
        terminals[kept],
        timeouts[kept],
        np.flatnonzero(np.diff(episodes, prepend=0)),
        dropped_rows=dropped,
        notes=tuple(notes),
    )


def _start_flags(ends: Flags) -> Flags:
    """`[T]`: whether an episode starts at a row: the first one, and each one after an end."""
    starts = np.empty_like(ends)
    starts[0] = True
    starts[1:] = ends[:-1]
    return starts
