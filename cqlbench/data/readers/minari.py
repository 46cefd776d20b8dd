"""Local Minari datasets, in HDF5 or Arrow storage -> `Transitions`.

Spaces are read by minari, episodes here: minari's own storages also read every `info`, in 0.5.4 fail at those
that are single numbers in Arrow, need a `metadata.json`, and take a damaged file's arrays as they come.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from gymnasium import Space, spaces

from cqlbench.core.errors import DatasetError
from cqlbench.core.paths import kind
from cqlbench.data.readers import flatten, hdf5
from cqlbench.data.readers.flatten import Part
from cqlbench.data.readers.minari_metadata import metadata_of, space_of
from cqlbench.data.transitions import Flags, Floats, Transitions

_EPISODE = re.compile(r"episode_(\d+)")
_FLAGS = ("terminations", "truncations")
_KEYS = ("observations", "actions", "rewards", *_FLAGS)


class Episode(Protocol):
    """One stored episode: `steps` actions and `steps + 1` observations. Faults are `DatasetError`s."""

    name: str

    def shape(self, key: str, path: flatten.Where = ()) -> tuple[int, ...] | None:
        """Shape of an array below `key`; `None`: a dictionary or tuple."""

    def members(self, key: str, path: flatten.Where = ()) -> list[str]:
        """Names in a dictionary or tuple below `key`."""

    def numbers(self, key: str, path: flatten.Where = ()) -> Floats:
        """An array below `key`, any shape, finite."""

    def flags(self, key: str) -> Flags:
        """`[steps]` bool."""


class Storage(Protocol):
    """The episodes of one dataset."""

    path: Path

    def names(self) -> list[str]:
        """The episodes' names, in the order of their numbers."""

    def episode(self, name: str) -> Episode:
        """One of them."""


def files(folder: str | Path) -> list[Path]:
    """The files of a Minari dataset's folder, or of its `data` folder, that its content depends on.

    Raises:
        DatasetError: the folder is no Minari dataset.
    """
    data = _data_folder(Path(folder))
    main = data / "main_data.hdf5"
    if kind(main) == "file":
        return [path for path in (main, data / "metadata.json") if path.is_file()]
    return sorted(path for path in data.rglob("*") if path.is_file())


def read_minari(folder: str | Path, observation_keys: Sequence[str] | None = None) -> Transitions:
    """Read a local Minari dataset, episodes in the order of their numbers.

    Each episode holds `observations [T+1, O]`, `actions [T, A]`, `rewards [T]`, `terminations [T]` and
    `truncations [T]`. The last observation is the state really reached, so no row is dropped. Discrete
    actions, stored as `[T]`, become one-hot rows. Observations that are dictionaries or tuples are flattened,
    and a note says in which order.

    Args:
        folder: the folder of the dataset, or its `data` folder.
        observation_keys: parts of dictionary observations, in the order in which they are joined; `None`:
            all, in the observation space's own order, which is `gymnasium.spaces.flatten`'s.

    Raises:
        DatasetError: the folder or file is missing, damaged or incomplete, or the dataset has observations or
            actions that are no vectors of numbers.
    """
    data = _data_folder(Path(folder))
    with _opened(data) as storage:
        names = storage.names()
        if not names:
            raise DatasetError(f"{storage.path} holds no transitions: it has no episode.")
        total = metadata_of(data).get("total_episodes", len(names))
        if total != len(names):
            raise DatasetError(
                f"{storage.path} holds {len(names)} episodes, but its metadata.json says {total}: the copy "
                "is incomplete; download it again."
            )
        first = storage.episode(names[0])
        observed = _parts(first, "observations", observation_keys, storage.path, data)
        acted = _parts(first, "actions", None, storage.path, data)
        _check_actions(first, acted, storage.path)
        return _read(storage, names, observed, acted)


def _read(storage: Storage, names: list[str], observed: list[Part], acted: list[Part]) -> Transitions:
    steps = [_steps(storage.episode(name), observed, acted, storage.path) for name in names]
    empty = steps.count(0)
    notes = [f"{empty} episodes without a step were left out."] if empty else []
    if observed[0].path:
        notes.append(f"Observations are joined in the order {flatten.order(observed)}.")
    filled = [(name, count) for name, count in zip(names, steps, strict=True) if count]
    if not filled:
        raise DatasetError(f"{storage.path} holds no transitions.")
    ends = np.cumsum([count for _, count in filled])
    rows = int(ends[-1])
    observations = np.empty((rows, sum(part.size for part in observed)), np.float32)
    next_observations = np.empty_like(observations)
    actions = np.empty((rows, sum(part.size for part in acted)), np.float32)
    rewards = np.empty(rows, np.float32)
    terminated = np.empty(rows, np.bool_)
    truncated = np.empty(rows, np.bool_)
    mass = 0.0
    for (name, count), end in zip(filled, ends, strict=True):
        episode = storage.episode(name)
        span = slice(int(end) - count, int(end))
        states = _joined(episode, "observations", observed, storage.path)
        observations[span] = states[:-1]
        next_observations[span] = states[1:]
        actions[span] = _joined(episode, "actions", acted, storage.path)
        earned = episode.numbers("rewards").reshape(count)
        rewards[span] = earned
        mass += float(np.abs(earned, dtype=np.float64).sum())
        terminated[span], truncated[span] = (episode.flags(key) for key in _FLAGS)
    return Transitions(
        observations,
        actions,
        rewards,
        next_observations,
        terminated,
        truncated,
        episode_starts=np.concatenate([[0], ends[:-1]]).astype(np.int64),
        reward_mass=mass,
        notes=tuple(notes),
        discrete_actions=bool(acted[0].categories),
    )


def _joined(episode: Episode, key: str, parts: list[Part], path: Path) -> Floats:
    joined = []
    for part in parts:
        try:
            joined.append(part.encode(episode.numbers(key, part.path)))
        except DatasetError as error:
            if str(path) in str(error):
                raise
            raise DatasetError(f"'{_place(episode, key, part)}' of {path} {error}.") from error
    return joined[0] if len(joined) == 1 else np.concatenate(joined, axis=1)


def _steps(episode: Episode, observed: list[Part], acted: list[Part], path: Path) -> int:
    """How many steps an episode has, once its arrays fit one another and the parts."""
    steps = _length(episode, "actions", acted[0], path)
    for key, parts, length in (("observations", observed, steps + 1), ("actions", acted, steps)):
        for part in parts:
            found = _length(episode, key, part, path)
            if found != length:
                wanted = (
                    "one observation more than actions" if key == "observations" else "equally long parts"
                )
                raise DatasetError(
                    f"'{_place(episode, key, part)}' of {path} has {found} rows for {steps} actions, but a "
                    f"Minari episode has {wanted} ({length})."
                )
    for key in ("rewards", *_FLAGS):
        shape = episode.shape(key)
        if shape not in ((steps,), (steps, 1)):
            length_or_shape = f"{shape[0]} rows" if shape and len(shape) == 1 else f"the shape {shape}"
            raise DatasetError(f"'{episode.name}/{key}' of {path} has {length_or_shape} for {steps} actions.")
    return steps


def _length(episode: Episode, key: str, part: Part, path: Path) -> int:
    shape = episode.shape(key, part.path)
    if not shape:
        raise DatasetError(f"'{_place(episode, key, part)}' of {path} is no array with one row per step.")
    size = int(np.prod(shape[1:]))
    if size != (len(part.categories) or part.size):
        raise DatasetError(
            f"'{_place(episode, key, part)}' of {path} has {size} numbers in each row, and "
            f"{len(part.categories) or part.size} were expected."
        )
    return shape[0]


def _place(episode: Episode, key: str, part: Part) -> str:
    return "/".join(filter(None, [episode.name, key, part.name]))


def _parts(first: Episode, key: str, keys: Sequence[str] | None, path: Path, data: Path) -> list[Part]:
    """What `key` is made of: by the dataset's space, or, where an old one has none, by what is stored."""
    space = space_of(data, key.removesuffix("s"))
    if space is None:
        space = _stored_space(first, key, ())
    try:
        parts = flatten.parts_of(space, keys)
    except DatasetError as error:
        raise DatasetError(f"'{key}' of {path} {error}.") from error
    if not parts:
        raise DatasetError(f"'{key}' of {path} has no parts.")
    return parts


def _stored_space(first: Episode, key: str, path: flatten.Where) -> Space[Any]:
    shape = first.shape(key, path)
    if shape is None:
        return spaces.Dict(
            {name: _stored_space(first, key, (*path, name)) for name in first.members(key, path)}
        )
    return spaces.Box(-np.inf, np.inf, shape[1:])


def _check_actions(first: Episode, acted: list[Part], path: Path) -> None:
    if len(acted) != 1 or acted[0].path or len(acted[0].categories) > 1:
        raise DatasetError(
            f"{path} has an action space that is neither a Box nor Discrete, which is not supported."
        )
    stored = first.shape("actions")
    if stored and len(stored) == 1 and not acted[0].categories:
        raise DatasetError(
            f"'{first.name}/actions' of {path} are single numbers, but its metadata.json does not say that "
            "its action space is 'Discrete', nor how many there are; write it with Minari 0.5 or newer."
        )


@contextlib.contextmanager
def _opened(data: Path) -> Iterator[Storage]:
    main = data / "main_data.hdf5"
    if kind(main) == "file":
        with hdf5.opened(main) as file:
            yield _Hdf5Storage(file, main)
    else:
        # Arrow is an extra: whoever has no such dataset need not install it.
        from cqlbench.data.readers.minari_arrow import ArrowStorage

        yield ArrowStorage(data, metadata_of(data)["data_format"])


class _Hdf5Storage:
    def __init__(self, file: h5py.File, path: Path) -> None:
        self.path, self._file = path, file

    def names(self) -> list[str]:
        names = [name for name in hdf5.members(self._file, self.path) if _EPISODE.fullmatch(name)]
        return sorted(names, key=lambda name: int(name.removeprefix("episode_")))

    def episode(self, name: str) -> Episode:
        group = hdf5.subgroup(self._file, name, self.path)
        hdf5.require_keys(group, _KEYS, self.path)
        return _Hdf5Episode(name, group, self.path)


class _Hdf5Episode:
    def __init__(self, name: str, group: h5py.Group, path: Path) -> None:
        self.name, self._group, self._path = name, group, path

    def shape(self, key: str, path: flatten.Where = ()) -> tuple[int, ...] | None:
        return hdf5.shape(self._group, _hdf5_name(key, path), self._path)

    def members(self, key: str, path: flatten.Where = ()) -> list[str]:
        return hdf5.members(hdf5.subgroup(self._group, _hdf5_name(key, path), self._path), self._path)

    def numbers(self, key: str, path: flatten.Where = ()) -> Floats:
        return hdf5.floats(self._group, _hdf5_name(key, path), self._path, None)

    def flags(self, key: str) -> Flags:
        return hdf5.flags(self._group, key, self._path)


def _hdf5_name(key: str, path: flatten.Where) -> str:
    return "/".join([key, *(f"_index_{step}" if isinstance(step, int) else step for step in path)])


def _data_folder(folder: Path) -> Path:
    for data in (folder / "data", folder):
        if kind(data / "main_data.hdf5") == "file":
            return data
    for data in (folder / "data", folder):
        storage = metadata_of(data).get("data_format")
        if storage in ("arrow", "parquet"):
            return data
        if storage not in (None, "hdf5"):
            raise DatasetError(
                f"{folder} is stored as '{storage}', which is not supported; create it again with "
                "data_format='hdf5'."
            )
    raise DatasetError(
        f"{folder} is not a Minari dataset: it has no data/main_data.hdf5, nor Arrow files; give the folder "
        "of one dataset and version, such as mujoco/hopper/medium-v0."
    )
