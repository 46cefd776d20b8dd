"""Files of equally long arrays, HDF5 or npz, behind one face."""

import contextlib
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from cqlbench.data import columns, hdf5
from cqlbench.data.columns import first_line
from cqlbench.data.places import kind
from cqlbench.data.transitions import Flags, Floats
from cqlbench.errors import DatasetError

SUFFIXES = (".hdf5", ".h5", ".npz")
"""Of the files that `opened` reads."""

# What zipfile and numpy raise for damaged archives and headers.
_NPZ_ERRORS = (
    OSError, EOFError, KeyError, TypeError, ValueError, RuntimeError, MemoryError, ArithmeticError,
    SyntaxError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class Table(Protocol):
    """An open file's arrays. Every method raises `DatasetError` for what it cannot give."""

    path: Path

    def keys(self) -> list[str]:
        """What the file holds at its top."""

    def dtype(self, key: str) -> np.dtype[Any]:
        """The type that an array is stored in."""

    def floats(self, key: str, dimensions: int | None, rows: int | None = None) -> Floats:
        """An array as finite float32, or the first `rows` of it."""

    def flags(self, key: str) -> Flags:
        """An array of 0 and 1 as bool."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Table]:
    """Open a file for reading: npz if it is called so, and HDF5 otherwise.

    Raises:
        DatasetError: the file is missing, of another format, cut short or damaged.
    """
    if path.suffix == ".npz":
        with _opened_npz(path) as table:
            yield table
    else:
        with hdf5.opened(path) as file:
            yield _Hdf5Table(file, path)


class _Hdf5Table:
    def __init__(self, file: h5py.File, path: Path) -> None:
        self.path, self._file = path, file

    def keys(self) -> list[str]:
        return hdf5.members(self._file, self.path)

    def dtype(self, key: str) -> np.dtype[Any]:
        stored: np.dtype[Any] = hdf5.dataset(self._file, key, self.path, None).dtype
        return stored

    def floats(self, key: str, dimensions: int | None, rows: int | None = None) -> Floats:
        return hdf5.floats(self._file, key, self.path, dimensions, rows)

    def flags(self, key: str) -> Flags:
        return hdf5.flags(self._file, key, self.path)


class _NpzTable:
    def __init__(self, archive: Any, path: Path) -> None:
        self.path, self._archive = path, archive

    def keys(self) -> list[str]:
        return list(self._archive.files)

    def dtype(self, key: str) -> np.dtype[Any]:
        return self._values(key).dtype

    def floats(self, key: str, dimensions: int | None, rows: int | None = None) -> Floats:
        values = self._values(key)
        return columns.as_floats(values[:rows] if values.ndim else values, key, self.path, dimensions)

    def flags(self, key: str) -> Flags:
        return columns.as_flags(self._values(key), key, self.path)

    def _values(self, key: str) -> NDArray[Any]:
        try:
            return np.asarray(self._archive[key])
        except _NPZ_ERRORS as error:
            raise DatasetError(
                f"'{key}' of {self.path} cannot be read ({first_line(error)}): the file is damaged, or "
                "holds Python objects; export it again."
            ) from error


@contextlib.contextmanager
def _opened_npz(path: Path) -> Iterator[Table]:
    if kind(path) != "file":
        raise DatasetError(f"There is no file {path}; check the path.")
    with contextlib.ExitStack() as stack:
        try:
            # Our own handle: numpy leaves a damaged file open.
            file = stack.enter_context(path.open("rb"))
            archive = np.load(file, allow_pickle=False)
        except _NPZ_ERRORS as error:
            raise DatasetError(
                f"{path} cannot be opened: it is no npz file, cut short or damaged ({first_line(error)}); "
                "export it again."
            ) from error
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DatasetError(f"{path} is a single array, and an npz file with D4RL's keys is needed.")
        yield _NpzTable(stack.enter_context(archive), path)
