"""Local Minari datasets, in HDF5 or Arrow storage -> `Transitions`.

Spaces are read by minari, episodes here: minari's own storages also read every `info`, in 0.5.4 fail at those
that are single numbers in Arrow, need a `metadata.json`, and take a damaged file's arrays as they come.
"""

import contextlib
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from gymnasium import Space, spaces

from cqlbench.core.errors import DatasetError
from cqlbench.core.paths import kind
from cqlbench.data.readers import flatten, hdf5
from cqlbench.data.readers.arrays import Arrays
from cqlbench.data.readers.flatten import Part
from cqlbench.data.readers.minari_folder import data_folder, metadata_of
from cqlbench.data.readers.minari_metadata import space_of
from cqlbench.data.transitions import Transitions

_EPISODE = re.compile(r"(episode_)?\d+")
_KEYS = ("observations", "actions", "rewards", "terminations", "truncations")


class Storage(Protocol):
    """The episodes of one dataset."""

    path: Path
    index: str
    """What a member of a tuple is called."""

    def members(self) -> list[str]:
        """The episodes' names, and perhaps others."""

    def group(self, key: str) -> Arrays:
        """One of them: `steps` actions and `steps + 1` observations."""


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
    data = data_folder(Path(folder))
    with _opened(data) as storage:
        names = sorted(
            filter(_EPISODE.fullmatch, storage.members()), key=lambda name: int(name.rpartition("_")[2])
        )
        if not names:
            raise DatasetError(f"{storage.path} holds no transitions: it has no episode.")
        total = metadata_of(data).get("total_episodes", len(names))
        if total != len(names):
            raise DatasetError(
                f"{storage.path} holds {len(names)} episodes, but its metadata.json says {total}: the copy "
                "is incomplete; download it again."
            )
        first = storage.group(names[0])
        first.require(_KEYS)
        observed = _parts(first, "observations", observation_keys, storage, data)
        acted = _parts(first, "actions", None, storage, data)
        _check_actions(first, acted)
        return _read(storage, names, observed, acted)


def _read(storage: Storage, names: list[str], observed: list[Part], acted: list[Part]) -> Transitions:
    steps = {name: _steps(storage, storage.group(name), observed, acted) for name in names}
    notes = []
    if empty := list(steps.values()).count(0):
        notes.append(f"{empty} episodes without a step were left out.")
        steps = {name: count for name, count in steps.items() if count}
    if observed[0].path:
        notes.append(f"Observations are joined in the order {flatten.order(observed)}.")
    bounds = np.cumsum([0, *steps.values()], dtype=np.int64)
    rows = int(bounds[-1])
    if not rows:
        raise DatasetError(f"{storage.path} holds no transitions.")
    observations = np.empty((rows, sum(part.size for part in observed)), np.float32)
    next_observations = np.empty_like(observations)
    actions = np.empty((rows, sum(part.size for part in acted)), np.float32)
    rewards = np.empty(rows, np.float32)
    terminated = np.empty(rows, np.bool_)
    truncated = np.empty(rows, np.bool_)
    mass = 0.0
    for name, (start, end) in zip(steps, itertools.pairwise(bounds), strict=True):
        episode = storage.group(name)
        column = 0
        for part in observed:
            key = _key("observations", part, storage)
            states = part.encode(episode.floats(key), episode.where(key))
            observations[start:end, column : column + part.size] = states[:-1]
            next_observations[start:end, column : column + part.size] = states[1:]
            column += part.size
        actions[start:end] = acted[0].encode(episode.floats("actions"), episode.where("actions"))
        rewards[start:end] = episode.floats("rewards", 1)
        mass += float(np.abs(rewards[start:end], dtype=np.float64).sum())
        terminated[start:end] = episode.flags("terminations")
        truncated[start:end] = episode.flags("truncations")
    return Transitions(
        observations,
        actions,
        rewards,
        next_observations,
        terminated,
        truncated,
        episode_starts=bounds[:-1],
        reward_mass=mass,
        notes=tuple(notes),
        discrete_actions=bool(acted[0].categories),
    )


def _steps(storage: Storage, episode: Arrays, observed: list[Part], acted: list[Part]) -> int:
    """How many steps an episode has, once its arrays fit one another and the parts."""
    episode.require(_KEYS)
    steps = (episode.shape("actions") or (0,))[0]
    wanted = {_key("observations", part, storage): (steps + 1, part.width) for part in observed}
    wanted |= {"actions": (steps, acted[0].width)} | dict.fromkeys(_KEYS[2:], (steps, 1))
    for key, (rows, width) in wanted.items():
        shape = episode.shape(key)
        if shape is None or (shape[0], int(np.prod(shape[1:]))) != (rows, width):
            raise DatasetError(
                f"{episode.where(key)} has the shape {list(shape or ())}, but {steps} actions need {rows} "
                f"rows of {width} numbers."
            )
    return steps


def _key(name: str, part: Part, storage: Storage) -> str:
    steps = (storage.index.format(step) if isinstance(step, int) else step for step in part.path)
    return "/".join([name, *steps])


def _parts(first: Arrays, key: str, keys: Sequence[str] | None, storage: Storage, data: Path) -> list[Part]:
    """What `key` is made of: by the dataset's space, or, where an old one has none, by what is stored."""
    space = space_of(data, key.removesuffix("s"))
    if space is None:
        space = _stored_space(first, key)
    return flatten.parts_of(space, keys, f"'{key}' of {storage.path}")


def _stored_space(first: Arrays, key: str) -> Space[Any]:
    shape = first.shape(key)
    if shape is not None:
        return spaces.Box(-np.inf, np.inf, shape[1:])
    return spaces.Dict({name: _stored_space(first, f"{key}/{name}") for name in first.members(key)})


def _check_actions(first: Arrays, acted: list[Part]) -> None:
    if len(acted) != 1 or acted[0].path or len(acted[0].categories) > 1:
        raise DatasetError(
            f"{first.path} has an action space that is neither a Box nor Discrete, which is not supported."
        )
    if len(first.shape("actions") or ()) == 1 and not acted[0].categories:
        raise DatasetError(
            f"{first.where('actions')} are single numbers, but its metadata.json does not say how many "
            "discrete actions there are; write it with Minari 0.5 or newer."
        )


@contextlib.contextmanager
def _opened(data: Path) -> Iterator[Storage]:
    main = data / "main_data.hdf5"
    if kind(main) == "file":
        with hdf5.opened(main) as file:
            yield file
    else:
        # Arrow is an extra: whoever has no such dataset need not install it.
        from cqlbench.data.readers.minari_arrow import ArrowStorage

        yield ArrowStorage(data, metadata_of(data)["data_format"])
