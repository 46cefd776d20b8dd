"""Rows that a collector gathers, every seed its own: on disk as they come, whole up to a commit marker.

A file per column, `[S, capacity, …]`, memory-mapped; after the rows of a batch, the marker is moved on. A
killed process therefore leaves every committed batch behind, and where the collector stood after the last.
"""

import errno
import json
import mmap
import os
import shutil
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tensordict import MemoryMappedTensor
from torch import Tensor

from cqlbench.core.errors import ConfigError, UserError
from cqlbench.engine.online.collected import FLAGS, row_shapes

_SLOT_HEAD = struct.Struct("<QQII")
"""Number of the commit, rows per seed, length and checksum of the collector's state."""


class OnlineRows:
    """The rows of a seed batch's own environments, in the order in which they were collected.

    Row `i` of a seed is of its environment `i % environments`; `ended` marks the last row of an episode, and
    `broken` a row before which its environment's episode broke off, which `ended` could not tell in time. Raw
    values, before preprocessing. What is committed is never changed.

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
        fresh: whether files were made for them.

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
        self.capacity, self.environments, self._folder = capacity, environments, folder
        self.rows = self.committed = 0
        self.fresh, self._marker = False, None
        shapes = row_shapes(observation_size, action_size) | {"broken": ()}
        if folder is not None:
            with _refused(folder):
                folder.mkdir(parents=True, exist_ok=True)
                self._marker = _Marker(folder / "committed")
        try:
            self.columns = {name: self._column(name, (seeds, capacity, *shapes[name])) for name in shapes}
        except ConfigError:
            if self.fresh:  # what was allocated before the disk was full
                self.remove()
            raise
        if self._marker is not None and self.fresh:
            self._marker.write(0, None)
        elif self._marker is not None:
            self.committed = min(self._marker.rows, capacity)

    def _column(self, name: str, shape: tuple[int, ...]) -> Tensor:
        dtype = torch.bool if name in FLAGS else torch.float32
        if self._folder is None:
            return torch.zeros(shape, dtype=dtype)
        path, size = self._folder / f"{name}.memmap", torch.Size(shape)
        needed = size.numel() * dtype.itemsize
        with _refused(
            self._folder, f": make room for {needed / 1e6:,.1f} MB, or choose another results folder"
        ):
            try:
                if not path.exists() or path.stat().st_size != needed:
                    self.fresh = True
                    _allocate(path, needed)
                mapped = MemoryMappedTensor.from_filename(path, dtype, size)
            except (OSError, RuntimeError):
                path.unlink(missing_ok=True)
                raise
        plain: Tensor = mapped.as_subclass(Tensor)
        return plain

    def extend(self, batch: Mapping[str, Tensor], state: Any = None, broken: Tensor | None = None) -> None:
        """Add `n` rows per seed, and commit them.

        Args:
            batch: a tensor `[S, n, …]` for each column but `broken`.
            state: where the collector stands after them, in plain JSON types.
            broken: `[S, environments]` bool: see the column of that name; default nowhere.

        Raises:
            UserError: there is no room for them.
        """
        first, count = self.rows, batch["rewards"].shape[1]
        if first + count > self.capacity:
            raise UserError(
                f"{first:,} rows per seed and {count:,} more do not fit the {self.capacity:,} that there is"
                " room for."
            )
        for name, column in self.columns.items():
            if name != "broken":
                column[:, first : first + count].copy_(batch[name])
        self.columns["broken"][:, first : first + count] = False
        if broken is not None and first:
            self.columns["broken"][:, first : first + self.environments] = broken
        self.rows += count
        self.committed = self.rows
        if self._marker is not None:
            self._marker.write(self.rows, state)

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
                f"The checkpoint was made after {rows:,} collected rows per seed, and '{self._folder}' holds"
                f" {self.committed:,} of them: start from scratch with resume=never."
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


def _allocate(path: Path, size: int) -> None:
    """A file of zeros, with its room on the disk: writing to a mapped hole of a full disk is a crash."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
            return
        if size > shutil.disk_usage(path.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        file.truncate(size)


@contextmanager
def _refused(folder: Path, advice: str = "") -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"Collected rows cannot be kept in '{folder}' ({reason}){advice}.") from error


class _Marker:
    """How many rows are whole, and a state beside it: two slots in turn; the newest whole one counts.

    A process may be killed at any time; what it had written stays with the operating system.
    """

    def __init__(self, path: Path, slot_bytes: int = 1 << 20) -> None:
        if not path.exists() or path.stat().st_size != 2 * slot_bytes:
            _allocate(path, 2 * slot_bytes)
        with path.open("r+b") as file:
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
            raise UserError(
                f"The collector's state takes {len(text):,} bytes of at most {self._slot_bytes:,}: use fewer"
                " environments, or the backend envpool."
            )
        self._number += 1
        start = (self._number % 2) * self._slot_bytes
        self._map[start + _SLOT_HEAD.size : start + _SLOT_HEAD.size + len(text)] = text
        checksum = _checksum(self._number, rows, text)
        _SLOT_HEAD.pack_into(self._map, start, self._number, rows, len(text), checksum)
        self.rows, self.state = rows, state


def _checksum(number: int, rows: int, text: bytes) -> int:
    return zlib.crc32(text, zlib.crc32(struct.pack("<QQ", number, rows)))
