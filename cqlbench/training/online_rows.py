"""Rows that a collector gathers, every seed its own: on disk as they come, whole up to a commit marker.

A file per column, `[S, capacity, …]`, memory-mapped; after the rows of a batch, the marker is moved on. A
killed process therefore leaves every committed batch behind, and where the collector stood after the last.
"""

import json
import mmap
import shutil
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tensordict import MemoryMappedTensor
from torch import Tensor

from cqlbench.errors import ConfigError, UserError

_SLOT_HEAD = struct.Struct("<QQII")
"""Number of the commit, rows per seed, length and checksum of the collector's state."""


class OnlineRows:
    """The rows of a seed batch's own environments, in the order in which they were collected.

    Row `i` of a seed is of its environment `i % environments`; `ended` marks the last row of an episode. Raw
    values, before preprocessing.

    Args:
        seeds: S.
        capacity: rows per seed.
        observation_size: O.
        action_size: A.
        environments: of each seed.
        folder: where the rows are kept, made if it is not there; `None` keeps them in memory only.

    Attributes:
        rows: per seed, those that training may draw from.
        committed: per seed, those that are whole in `folder`: more than `rows` after going back to a
            checkpoint that was made before the last of them.

    Raises:
        ConfigError: the folder cannot be written, or there is no room in it.
    """

    def __init__(
        self,
        seeds: int,
        capacity: int,
        observation_size: int,
        action_size: int,
        environments: int = 1,
        folder: Path | None = None,
    ) -> None:
        self.capacity, self.environments = capacity, environments
        self.rows = self.committed = 0
        self._folder = folder
        shapes: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
            "observations": ((observation_size,), torch.float32),
            "actions": ((action_size,), torch.float32),
            "rewards": ((), torch.float32),
            "next_observations": ((observation_size,), torch.float32),
            "terminated": ((), torch.bool),
            "ended": ((), torch.bool),
        }
        self._marker = None if folder is None else _marker_in(folder)
        self.columns = {
            name: self._column(name, (seeds, capacity, *shape), dtype)
            for name, (shape, dtype) in shapes.items()
        }
        if self._marker is not None:
            self.committed = min(self._marker.rows, capacity)

    def _column(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        if self._folder is None:
            return torch.zeros(shape, dtype=dtype)
        path = self._folder / f"{name}.memmap"
        try:
            size = torch.Size(shape)
            wanted = size.numel() * torch.empty((), dtype=dtype).element_size()
            if not path.exists() or path.stat().st_size != wanted:
                self._refuse_full_disk(wanted)
                mapped = MemoryMappedTensor.empty(size, dtype=dtype, filename=path, existsok=True)
            else:
                mapped = MemoryMappedTensor.from_filename(path, dtype, size)
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"Collected rows cannot be kept in '{self._folder}' ({reason}).") from error
        plain: Tensor = mapped.as_subclass(Tensor)
        return plain

    def _refuse_full_disk(self, wanted: int) -> None:
        # Pages of a sparse file are given out one by one: a full disk would kill the process, not raise.
        assert self._folder is not None
        free = shutil.disk_usage(self._folder).free
        if wanted > free:
            raise ConfigError(
                f"Collected rows need {wanted / 1e6:,.0f} MB in '{self._folder}', and {free / 1e6:,.0f} MB"
                " are free: make room, or choose another results folder."
            )

    def extend(self, batch: Mapping[str, Tensor], state: Any = None, broken: Tensor | None = None) -> int:
        """Add `n` rows per seed, and commit them.

        Args:
            batch: a tensor `[S, n, …]` for each column.
            state: where the collector stands after them, in plain JSON types.
            broken: `[S, environments]` bool: episodes that broke off before these rows, so that the last row
                of their environment was the last of its episode.

        Returns:
            The first row that has changed.

        Raises:
            UserError: there is no room for them.
        """
        first = self.rows
        if broken is not None and broken.any() and first:
            last = first - self.environments
            self.columns["ended"][:, last:first] |= broken
            first = last
        count = batch["rewards"].shape[1]
        if self.rows + count > self.capacity:
            raise UserError(
                f"{self.rows:,} rows per seed and {count:,} more do not fit the {self.capacity:,} that there"
                " is room for: collect fewer, or make more room."
            )
        for name, column in self.columns.items():
            column[:, self.rows : self.rows + count].copy_(batch[name])
        self.rows += count
        self.committed = self.rows
        if self._marker is not None:
            self._marker.write(self.rows, state)
        return first

    def replay(self, count: int) -> dict[str, Tensor] | None:
        """The next `count` committed rows per seed that a killed process left; from now on `rows` has them.

        Returns:
            A tensor `[S, count, …]` for each column; `None` where there are not so many.
        """
        if self.committed - self.rows < count:
            return None
        found = {name: column[:, self.rows : self.rows + count] for name, column in self.columns.items()}
        self.rows += count
        return found

    @property
    def replaying(self) -> bool:
        """Whether there are committed rows that training has not seen."""
        return self.committed > self.rows

    def committed_state(self) -> Any:
        """What `extend` was given with the last committed rows."""
        return None if self._marker is None else self._marker.state

    def go_back(self, rows: int) -> None:
        """Have `rows` per seed, as when a checkpoint was made; later ones that are committed can be replayed.

        Raises:
            ConfigError: so many are not there.
        """
        if rows > self.committed:
            raise ConfigError(
                f"The checkpoint was made after {rows:,} collected rows per seed, and"
                f" '{self._folder}' holds {self.committed:,} of them: begin anew with resume=never."
            )
        self.rows = rows

    def forget(self) -> None:
        """Have no rows; those in the folder will be overwritten."""
        self.rows = self.committed = 0
        if self._marker is not None:
            self._marker.write(0, None)

    def remove(self) -> None:
        """Delete the folder: everything is trained and recorded."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _marker_in(folder: Path) -> "_Marker":
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _Marker(folder / "committed")
    except OSError as error:
        raise ConfigError(
            f"Collected rows cannot be kept in '{folder}' ({error.strerror or error})."
        ) from error


class _Marker:
    """How many rows are whole, and a state beside it: two slots in turn; the newest whole one counts.

    A process may be killed at any time; what it had written stays with the operating system.
    """

    def __init__(self, path: Path, slot_bytes: int = 1 << 20) -> None:
        fresh = not path.exists()
        with path.open("w+b" if fresh else "r+b") as file:
            file.truncate(2 * slot_bytes)
            self._map = mmap.mmap(file.fileno(), 2 * slot_bytes)
        self._slot_bytes = slot_bytes
        self._number, self.rows, self.state = max(
            (self._read(slot) for slot in (0, 1)), key=lambda found: found[0]
        )

    def _read(self, slot: int) -> tuple[int, int, Any]:
        start = slot * self._slot_bytes
        number, rows, length, checksum = _SLOT_HEAD.unpack_from(self._map, start)
        text = self._map[start + _SLOT_HEAD.size : start + _SLOT_HEAD.size + length]
        if not number or length > self._slot_bytes or _checksum(number, rows, text) != checksum:
            return 0, 0, None
        return number, rows, json.loads(text)

    def write(self, rows: int, state: Any) -> None:
        """Move the marker."""
        text = json.dumps(state).encode()
        if len(text) + _SLOT_HEAD.size > self._slot_bytes:
            text = b"null"  # as of a simulator that gives no state
        self._number += 1
        start = (self._number % 2) * self._slot_bytes
        self._map[start + _SLOT_HEAD.size : start + _SLOT_HEAD.size + len(text)] = text
        checksum = _checksum(self._number, rows, text)
        _SLOT_HEAD.pack_into(self._map, start, self._number, rows, len(text), checksum)
        self.rows, self.state = rows, state


def _checksum(number: int, rows: int, text: bytes) -> int:
    return zlib.crc32(text, zlib.crc32(struct.pack("<QQ", number, rows)))
