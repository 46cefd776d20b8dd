"""Local Minari datasets (HDF5 storage) -> `Transitions`."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cqlbench.data import hdf5
from cqlbench.data.discrete import DiscreteSpace
from cqlbench.data.places import kind
from cqlbench.data.transitions import Floats, Transitions
from cqlbench.errors import DatasetError

_EPISODE = re.compile(r"episode_(\d+)")
_KEYS = ("observations", "actions", "rewards", "terminations", "truncations")


@dataclass(frozen=True)
class _Shape:
    """One episode of the file: `steps` actions and `steps + 1` observations."""

    name: str
    steps: int
    observation_size: int
    action_size: int


def main_file(folder: str | Path) -> Path:
    """The HDF5 file of a Minari dataset's folder, or of its `data` folder.

    Raises:
        DatasetError: there is none, or the dataset is stored in another format.
    """
    folder = Path(folder)
    for data in (folder / "data", folder):
        if kind(data / "main_data.hdf5") == "file":
            return data / "main_data.hdf5"
    storage = _metadata(folder / "data").get("data_format", "hdf5")
    if storage != "hdf5":
        raise DatasetError(
            f"{folder} is stored as '{storage}', which is not supported yet; create it again with "
            "data_format='hdf5'."
        )
    raise DatasetError(
        f"{folder} is not a Minari dataset: it has no data/main_data.hdf5; give the folder of one dataset "
        "and version, such as mujoco/hopper/medium-v0."
    )


def discrete_actions(folder: Path) -> DiscreteSpace | None:
    """The action space of the Minari dataset in `folder`, or of its `data` folder, if it is discrete.

    Raises:
        DatasetError: its metadata cannot be read.
    """
    return DiscreteSpace.of(_metadata(folder / "data") or _metadata(folder))


def read_minari(folder: str | Path) -> Transitions:
    """Read a local Minari dataset, episodes in the order of their numbers.

    Each group `episode_<n>` holds `observations [T+1, O]`, `actions [T, A]` (or `[T]` where they are
    discrete), `rewards [T]`, `terminations [T]` and `truncations [T]`; the last observation is the state
    really reached, so no row is dropped.

    Raises:
        DatasetError: the folder or file is missing, damaged or incomplete, or the dataset has observations
            that are not a flat box, or actions that are neither that nor discrete.
    """
    path = main_file(folder)
    metadata = _metadata(path.parent)
    _check_spaces(metadata, path)
    discrete = DiscreteSpace.of(metadata)
    notes: tuple[str, ...] = ()
    with hdf5.opened(path) as file:
        episodes = [_shape(file, name, path, discrete) for name in _episode_names(file, path, metadata)]
        empty = sum(episode.steps == 0 for episode in episodes)
        if empty:
            notes = (f"{empty} episodes without a step were left out.",)
        episodes = [episode for episode in episodes if episode.steps]
        if not episodes:
            raise DatasetError(f"{path} holds no transitions.")
        return _read(file, episodes, path, notes, discrete)


def _read(
    file: h5py.File,
    episodes: list[_Shape],
    path: Path,
    notes: tuple[str, ...],
    discrete: DiscreteSpace | None,
) -> Transitions:
    sizes = (episodes[0].observation_size, episodes[0].action_size)
    ends = np.cumsum([episode.steps for episode in episodes])
    rows = int(ends[-1])
    observations = np.empty((rows, sizes[0]), np.float32)
    next_observations = np.empty_like(observations)
    actions = np.empty((rows, sizes[1]), np.float32)
    rewards = np.empty(rows, np.float32)
    terminated = np.empty(rows, np.bool_)
    truncated = np.empty(rows, np.bool_)
    for episode, end in zip(episodes, ends, strict=True):
        if (episode.observation_size, episode.action_size) != sizes:
            raise DatasetError(
                f"'{episode.name}' of {path} observes {episode.observation_size} numbers and acts with "
                f"{episode.action_size}, but '{episodes[0].name}' has {sizes[0]} and {sizes[1]}."
            )
        group = hdf5.subgroup(file, episode.name, path)
        span = slice(int(end) - episode.steps, int(end))
        states = hdf5.floats(group, "observations", path, dimensions=2)
        observations[span] = states[:-1]
        next_observations[span] = states[1:]
        actions[span] = _actions(group, path, discrete)
        rewards[span] = hdf5.floats(group, "rewards", path, dimensions=1)
        terminated[span] = hdf5.flags(group, "terminations", path)
        truncated[span] = hdf5.flags(group, "truncations", path)
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    return Transitions(
        observations,
        actions,
        rewards,
        next_observations,
        terminated,
        truncated,
        starts,
        notes=notes,
        discrete_actions=discrete is not None,
    )


def _actions(group: h5py.Group, path: Path, discrete: DiscreteSpace | None) -> Floats:
    if discrete is None:
        return hdf5.floats(group, "actions", path, dimensions=2)
    numbers = hdf5.floats(group, "actions", path, dimensions=1)
    return discrete.one_hot(numbers, f"'{str(group.name).strip('/')}/actions' of {path}")


def _episode_names(file: h5py.File, path: Path, metadata: dict[str, Any]) -> list[str]:
    names = [name for name in hdf5.members(file, path) if _EPISODE.fullmatch(name)]
    if not names:
        raise DatasetError(f"{path} holds no transitions: it has no group 'episode_0'.")
    total = metadata.get("total_episodes", len(names))
    if total != len(names):
        raise DatasetError(
            f"{path} holds {len(names)} episodes, but its metadata.json says {total}: the copy is "
            "incomplete; download it again."
        )
    return sorted(names, key=lambda name: int(name.removeprefix("episode_")))


def _shape(file: h5py.File, name: str, path: Path, discrete: DiscreteSpace | None) -> _Shape:
    group = hdf5.subgroup(file, name, path)
    hdf5.require_keys(group, _KEYS, path)
    if hdf5.shape(group, "observations", path) is None:
        raise DatasetError(
            f"'{name}/observations' of {path} is a dictionary, which is not supported yet; flatten the "
            "observations into one box."
        )
    if discrete is None and len(hdf5.shape(group, "actions", path) or ()) == 1:
        raise DatasetError(
            f"'{name}/actions' of {path} are single numbers, but its metadata.json does not say that its "
            "action space is 'Discrete', nor how many actions there are; write it with Minari 0.5 or newer."
        )
    observations = hdf5.dataset(group, "observations", path, dimensions=2).shape
    actions = hdf5.dataset(group, "actions", path, dimensions=1 if discrete else 2).shape
    steps = actions[0]
    if observations[0] != steps + 1:
        raise DatasetError(
            f"'{name}/observations' of {path} has {observations[0]} rows for {steps} actions, but a Minari "
            f"episode has one observation more than actions ({steps + 1})."
        )
    for key in ("rewards", "terminations", "truncations"):
        length = hdf5.dataset(group, key, path, dimensions=1).shape[0]
        if length != steps:
            raise DatasetError(f"'{name}/{key}' of {path} has {length} rows for {steps} actions.")
    return _Shape(name, steps, observations[1], discrete.size if discrete else actions[1])


def _metadata(data: Path) -> dict[str, Any]:
    """`metadata.json` beside the data; Minari before 0.5 kept it elsewhere, so it may be missing."""
    path = data / "metadata.json"
    if kind(path) != "file":
        return {}
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read ({error}); download the dataset again.") from error
    if not isinstance(metadata, dict):
        raise DatasetError(f"{path} is not a JSON object; download the dataset again.")
    return metadata


def _check_spaces(metadata: dict[str, Any], path: Path) -> None:
    for what in ("observation", "action"):
        space = metadata.get(f"{what}_space")
        try:
            shape = json.loads(space).get("type", "Box") if isinstance(space, str) else "Box"
        except (ValueError, AttributeError):
            continue
        if shape != "Box" and not (what == "action" and DiscreteSpace.of(metadata)):
            raise DatasetError(
                f"{path} has the {what} space '{shape}', which is not supported yet; only Box is, and "
                "Discrete for actions."
            )
