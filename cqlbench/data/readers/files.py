"""Files of equally long arrays, HDF5 or npz, behind one face."""

import contextlib
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from cqlbench.core.errors import DatasetError
from cqlbench.core.paths import kind
from cqlbench.data.readers import arrays, hdf5
from cqlbench.data.readers.arrays import first_line, shown
from cqlbench.data.readers.layout import Layout
from cqlbench.data.readers.robomimic import RobomimicTable, is_robomimic
from cqlbench.data.transitions import Flags, Floats

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
    notes: tuple[str, ...]
    """What is to be known of how the arrays are put together."""
    hint: str
    """What to do where a column is missing; ends a sentence."""

    def keys(self) -> list[str]:
        """What the file holds at its top; of one whose columns are renamed, our names."""

    def names(self) -> list[str]:
        """Every array's name in the file, of those in a group with the group's."""

    def dtype(self, key: str) -> np.dtype[Any]:
        """The type that an array is stored in."""

    def floats(self, key: str, dimensions: int | None, rows: int | None = None) -> Floats:
        """An array as finite float32, or the first `rows` of it."""

    def flags(self, key: str) -> Flags:
        """An array of 0 and 1 as bool."""


@contextlib.contextmanager
def opened(path: Path, layout: Layout | None = None) -> Iterator[Table]:
    """Open a file for reading: npz if it is called so, and HDF5, also in robomimic's layout, otherwise.

    Raises:
        DatasetError: the file is missing, of another format, cut short or damaged, or `layout` names columns
            that it lacks.
    """
    layout = layout or Layout()
    with contextlib.ExitStack() as stack:
        table: Table
        if path.suffix == ".npz":
            table = stack.enter_context(_opened_npz(path))
        else:
            file = stack.enter_context(hdf5.opened(path))
            if is_robomimic(file, path):
                table = RobomimicTable(file, path, layout.observation_keys)
            else:
                table = _Hdf5Table(file, path)
        yield _Renamed(table, layout.columns) if layout.columns else table


class _Hdf5Table:
    notes: tuple[str, ...] = ()
    hint = "."

    def __init__(self, file: h5py.File, path: Path) -> None:
        self.path, self._file = path, file

    def keys(self) -> list[str]:
        return hdf5.members(self._file, self.path)

    def names(self) -> list[str]:
        return hdf5.array_names(self._file, self.path)

    def dtype(self, key: str) -> np.dtype[Any]:
        stored: np.dtype[Any] = hdf5.dataset(self._file, key, self.path, None).dtype
        return stored

    def floats(self, key: str, dimensions: int | None, rows: int | None = None) -> Floats:
        return hdf5.floats(self._file, key, self.path, dimensions, rows)

    def flags(self, key: str) -> Flags:
        return hdf5.flags(self._file, key, self.path)


class _NpzTable:
    notes: tuple[str, ...] = ()
    hint = "."

    def __init__(self, archive: Any, path: Path) -> None:
        self.path, self._archive = path, archive

    def keys(self) -> list[str]:
        return list(self._archive.files)

    def names(self) -> list[str]:
        return self.keys()

    def dtype(self, key: str) -> np.dtype[Any]:
        return self._values(key).dtype

    def floats(self, key: str, dimensions: int | None, rows: int | None = None) -> Floats:
        values = self._values(key)
        return arrays.as_floats(values[:rows] if values.ndim else values, key, self.path, dimensions)

    def flags(self, key: str) -> Flags:
        return arrays.as_flags(self._values(key), key, self.path)

    def _values(self, key: str) -> NDArray[Any]:
        try:
            return np.asarray(self._archive[key])
        except _NPZ_ERRORS as error:
            raise DatasetError(
                f"'{key}' of {self.path} cannot be read ({first_line(error)}): the file is damaged, or "
                "holds Python objects; export it again."
            ) from error


class _Renamed:
    """A table whose columns have other names in the file; those that are not to be read have none."""

    def __init__(self, table: Table, columns: Mapping[str, str]) -> None:
        self.path, self.notes, self.hint = table.path, table.notes, table.hint
        self._table, self._columns = table, columns
        present = table.names()
        missing = [name for name in columns.values() if name and name not in present]
        if missing:
            raise DatasetError(
                f"{self.path} lacks {', '.join(missing)}, which columns= names (it has: {shown(present)})."
            )

    def keys(self) -> list[str]:
        present = self._table.keys()
        own = [key for key in present if key not in self._columns]
        return own + [ours for ours, theirs in self._columns.items() if theirs]

    def names(self) -> list[str]:
        return self._table.names()

    def dtype(self, key: str) -> np.dtype[Any]:
        return self._table.dtype(self._columns.get(key, key))

    def floats(self, key: str, dimensions: int | None, rows: int | None = None) -> Floats:
        return self._table.floats(self._columns.get(key, key), dimensions, rows)

    def flags(self, key: str) -> Flags:
        return self._table.flags(self._columns.get(key, key))


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
