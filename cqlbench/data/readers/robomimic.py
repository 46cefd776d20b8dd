"""robomimic's files as one table of D4RL's columns.

A file holds `data/demo_<i>/{obs/*, next_obs/*, actions, rewards, dones}`, a group for each demonstration.
`dones` are the terminals; a demonstration that ends without one is cut there, as by a time limit.
"""

import contextlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cqlbench.core.errors import DatasetError
from cqlbench.data.readers import hdf5
from cqlbench.data.readers.arrays import Array
from cqlbench.data.readers.column_names import OPTIONAL, REQUIRED
from cqlbench.data.transitions import Flags, Floats

_DEMO = re.compile(r"demo_(\d+)")
_FILES = {"observations": "obs", "next_observations": "next_obs", "terminals": "dones", "timeouts": "dones"}


def is_robomimic(file: h5py.File, path: Path) -> bool:
    """Whether a file has demonstrations below `data`."""
    if "data" not in hdf5.members(file, path) or file.get("data", getclass=True) is not h5py.Group:
        return False
    return any(_DEMO.fullmatch(name) for name in hdf5.members(file["data"], path))


def environment_name(path: Path) -> str:
    """The environment that a file says it was recorded in; empty if it is no such file, or does not say."""
    with (
        contextlib.suppress(DatasetError, OSError, KeyError, ValueError, TypeError),
        hdf5.opened(path) as file,
    ):
        return str(json.loads(file["data"].attrs["env_args"])["env_name"])
    return ""


class RobomimicTable:
    """A `files.Table` of all demonstrations, in the order of their numbers.

    Args:
        file: the open file.
        path: its path.
        observation_keys: the observations that are joined, in this order; `None`: all, by name.
    """

    hint = "; robomimic's dataset_states_to_obs.py writes observations, rewards and dones into such a file."

    def __init__(self, file: h5py.File, path: Path, observation_keys: Sequence[str] | None) -> None:
        self.path = path
        data = file["data"]
        names = sorted(filter(_DEMO.fullmatch, hdf5.members(data, path)), key=lambda name: int(name[5:]))
        self._demos = [_Demo(hdf5.subgroup(data, name, path), path) for name in names]
        self._observed = list(observation_keys or self._demos[0].observations())
        self.notes: tuple[str, ...] = (
            f"{len(names)} demonstrations in robomimic's layout; observations are joined in the order "
            f"{', '.join(self._observed)}.",
        )

    def keys(self) -> list[str]:
        """D4RL's names of what the first demonstration has."""
        present = hdf5.members(self._demos[0].group, self.path)
        return [name for name in (*REQUIRED, *OPTIONAL) if _FILES.get(name, name) in present]

    def names(self) -> list[str]:
        """See `files.Table`."""
        return self.keys()

    def dtype(self, key: str) -> np.dtype[Any]:
        """See `files.Table`."""
        stored: np.dtype[Any] = hdf5.dataset(self._demos[0].group, key, self.path, None).dtype
        return stored

    def floats(self, key: str, dimensions: int | None, rows: int | None = None) -> Floats:
        """See `files.Table`."""
        if key in ("observations", "next_observations"):
            parts = [demo.joined(_FILES[key], self._observed) for demo in self._demos]
        else:
            parts = [demo.floats(key, dimensions) for demo in self._demos]
        if len({part.shape[1:] for part in parts}) > 1:
            raise DatasetError(f"'{key}' of {self.path} have another size in some demonstrations.")
        return np.concatenate(parts)[:rows]

    def flags(self, key: str) -> Flags:
        """See `files.Table`."""
        parts = [demo.dones() for demo in self._demos]
        if key == "timeouts":
            parts = [(np.arange(len(dones)) == len(dones) - 1) & ~dones for dones in parts]
        return np.concatenate(parts)


class _Demo:
    """One demonstration; all its arrays have as many rows as its actions."""

    def __init__(self, group: h5py.Group, path: Path) -> None:
        self.group, self._path = group, path
        hdf5.require_keys(group, ["actions"], path)
        self._rows = len(hdf5.dataset(group, "actions", path, None))
        stated = group.attrs.get("num_samples", self._rows)
        if stated != self._rows:
            raise DatasetError(
                f"'{group.name.strip('/')}' of {path} says that it has {stated} rows, but its actions have "
                f"{self._rows}: the file is damaged; export it again."
            )

    def observations(self) -> list[str]:
        if "obs" not in hdf5.members(self.group, self._path):
            return []
        return sorted(hdf5.members(hdf5.subgroup(self.group, "obs", self._path), self._path))

    def floats(self, key: str, dimensions: int | None) -> Floats:
        return self._fitting(hdf5.floats(self.group, key, self._path, dimensions), key)

    def dones(self) -> Flags:
        return self._fitting(hdf5.flags(self.group, "dones", self._path), "dones")

    def joined(self, key: str, names: Sequence[str]) -> Floats:
        group = hdf5.subgroup(self.group, key, self._path)
        hdf5.require_keys(group, names, self._path)
        shapes = {name: hdf5.shape(group, name, self._path) or () for name in names}
        flat = [name for name, shape in shapes.items() if 1 <= len(shape) <= 2]
        if len(flat) < len(names):
            unlike = ", ".join(name for name in names if name not in flat)
            raise DatasetError(
                f"'{group.name.strip('/')}' of {self._path} holds images or groups, which are not supported "
                f"({unlike}); import the file with observation_keys={','.join(flat)}, or some of these."
            )
        read = {name: hdf5.floats(group, name, self._path, None) for name in names}
        return np.concatenate(
            [self._fitting(part, name).reshape(self._rows, -1) for name, part in read.items()], 1
        )

    def _fitting(self, values: Array, key: str) -> Array:
        if len(values) != self._rows:
            raise DatasetError(
                f"'{self.group.name.strip('/')}/{key}' of {self._path} has {len(values)} rows for "
                f"{self._rows} actions; export the file again."
            )
        return values
