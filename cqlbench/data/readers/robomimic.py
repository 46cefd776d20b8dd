"""robomimic's files as one table of D4RL's columns.

A file holds `data/demo_<i>/{obs/*, next_obs/*, actions, rewards, dones}`, a group for each demonstration.
`dones` are the terminals; a demonstration that ends without one is cut there, as by a time limit.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cqlbench.core.errors import DatasetError
from cqlbench.data.readers import hdf5
from cqlbench.data.readers.arrays import Loaded
from cqlbench.data.readers.column_names import OPTIONAL, REQUIRED
from cqlbench.data.readers.hdf5 import Hdf5

_DEMO = re.compile(r"demo_(\d+)")
_FILES = {"observations": "obs", "next_observations": "next_obs", "terminals": "dones", "timeouts": "dones"}


def demonstrations(file: Hdf5) -> list[str]:
    """The groups of demonstrations, in the order of their numbers; of another layout's file, none."""
    names = file.members("data") if file.is_group("data") else []
    return sorted(filter(_DEMO.fullmatch, names), key=lambda name: int(name.removeprefix("demo_")))


def environment_name(path: Path) -> str:
    """The environment that a file says it was recorded in; empty if it is no such file, or does not say."""
    with (
        contextlib.suppress(DatasetError, OSError, KeyError, ValueError, TypeError),
        hdf5.opened(path) as file,
    ):
        return str(json.loads(file.group("data").attributes()["env_args"])["env_name"])
    return ""


def joined(file: Hdf5, names: Sequence[str], observation_keys: Sequence[str] | None) -> Loaded:
    """All demonstrations, one after the other; observations are joined in the order of keys, or all by name.

    Raises:
        DatasetError: a demonstration's actions are missing or not as many as it says.
    """
    demos = [_Demo(file.group(f"data/{name}")) for name in names]
    keys = observation_keys or (
        sorted(demos[0].group.members("obs")) if demos[0].group.is_group("obs") else []
    )
    table = Loaded(file.path, _Columns(demos, keys))
    table.notes = (
        f"{len(names)} demonstrations in robomimic's layout; observations are joined in the order "
        f"{', '.join(keys)}.",
    )
    table.hint = (
        "; robomimic's dataset_states_to_obs.py writes observations, rewards and dones into such a file."
    )
    return table


class _Columns(Mapping[str, NDArray[Any]]):
    """D4RL's names of what the first demonstration has -> that of all, read when it is asked for."""

    def __init__(self, demos: Sequence["_Demo"], observation_keys: Sequence[str]) -> None:
        self._demos, self._keys = demos, observation_keys
        present = demos[0].group.members()
        self._names = [name for name in (*REQUIRED, *OPTIONAL) if _FILES.get(name, name) in present]

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __getitem__(self, name: str) -> NDArray[Any]:
        key = _FILES.get(name, name)
        if key in ("obs", "next_obs"):
            parts = [demo.observations(key, self._keys) for demo in self._demos]
        else:
            parts = [demo.values(key) for demo in self._demos]
        if name == "timeouts":
            parts = [(np.arange(len(dones)) == len(dones) - 1) & ~dones for dones in parts]
        if len({part.shape[1:] for part in parts}) > 1:
            raise DatasetError(
                f"The demonstrations of {self._demos[0].group.path} have '{name}' of other sizes."
            )
        return np.concatenate(parts)


class _Demo:
    """One demonstration; all its arrays have as many rows as its actions."""

    def __init__(self, group: Hdf5) -> None:
        self.group = group
        group.require(["actions"])
        self._rows = (group.shape("actions") or (0,))[0]
        if (stated := group.attributes().get("num_samples", self._rows)) != self._rows:
            raise DatasetError(
                f"{group.where()} says that it has {stated} rows, but has {self._rows} actions."
            )

    def values(self, key: str) -> NDArray[Any]:
        values = self.group.flags(key) if key == "dones" else self.group.values(key)
        if len(values) != self._rows:
            raise DatasetError(
                f"{self.group.where(key)} has {len(values)} rows for {self._rows} actions; export it again."
            )
        return values

    def observations(self, key: str, names: Sequence[str]) -> NDArray[Any]:
        group = self.group.group(key)
        group.require(names)
        flat = [name for name in names if len(group.shape(name) or ()) in (1, 2)]
        if len(flat) < len(names):
            raise DatasetError(
                f"{group.where()} holds images or groups, which are not supported; import the file with "
                f"observation_keys={','.join(flat)}, or some of these."
            )
        return np.concatenate([self.values(f"{key}/{name}").reshape(self._rows, -1) for name in names], 1)
