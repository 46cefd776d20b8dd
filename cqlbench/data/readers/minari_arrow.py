"""Minari's Arrow (and Parquet) storage: one folder for each episode, one row more than there are actions.

A row holds `observations`, `actions`, `rewards`, `terminations` and `truncations`; in the last row all but
the observation are padding. Boxes are lists of fixed size, dictionaries and tuples are structs.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cqlbench.core.errors import DatasetError
from cqlbench.core.paths import kind
from cqlbench.data.readers import arrays, flatten
from cqlbench.data.transitions import Flags, Floats

try:
    import pyarrow as pa
    import pyarrow.dataset
except ImportError as error:
    raise DatasetError(
        "Minari datasets in Arrow storage need pyarrow, which is not installed; run "
        "`pip install 'cqlbench[arrow]'`, or create the dataset again with data_format='hdf5'."
    ) from error

# What pyarrow raises for damaged files and missing columns, its own errors among them.
_ARROW_ERRORS = (OSError, KeyError, ValueError, TypeError, RuntimeError, IndexError, pa.ArrowException)
_COLUMNS = ["observations", "actions", "rewards", "terminations", "truncations"]


class ArrowStorage:
    """The episodes of one dataset's `data` folder."""

    def __init__(self, path: Path, storage_format: str) -> None:
        self.path, self._format = path, storage_format

    def names(self) -> list[str]:
        """Folders whose name is a number, in the order of the numbers."""
        try:
            folders = [folder.name for folder in self.path.iterdir() if folder.name.isdecimal()]
        except OSError as error:
            raise DatasetError(f"{self.path} cannot be listed ({error.strerror}).") from error
        return sorted(folders, key=int)

    def episode(self, name: str) -> "ArrowEpisode":
        """Open one episode.

        Raises:
            DatasetError: it is damaged or lacks a column.
        """
        folder = self.path / name
        try:
            files = [str(file) for file in sorted(folder.iterdir()) if file.suffix == f".{self._format}"]
            stored = pyarrow.dataset.dataset(files, format=self._format)
            table = stored.to_table(columns=_COLUMNS, use_threads=False).combine_chunks()
            table.validate(full=True)
        except _ARROW_ERRORS as error:
            raise _damaged(folder, error) from error
        if kind(folder) != "folder" or not table.num_rows:
            raise DatasetError(f"{folder} holds no rows: the file is cut short; download it again.")
        return ArrowEpisode(name, table, folder)


class ArrowEpisode:
    """One episode's columns, without their padding."""

    def __init__(self, name: str, table: Any, folder: Path) -> None:
        self.name, self._table, self._folder = name, table, folder

    def shape(self, key: str, path: flatten.Where = ()) -> tuple[int, ...] | None:
        """`[rows, size]` or `[rows]`; `None`: a struct."""
        stored = self._column(key, path)
        if pa.types.is_struct(stored.type):
            return None
        if pa.types.is_fixed_size_list(stored.type):
            return (len(stored), stored.type.list_size)
        return (len(stored),)

    def members(self, key: str, path: flatten.Where = ()) -> list[str]:
        """Names of a struct's fields."""
        return [field.name for field in self._column(key, path).type]

    def numbers(self, key: str, path: flatten.Where = ()) -> Floats:
        """`[rows, size]` or `[rows]` float32, finite."""
        return arrays.as_floats(self._values(key, path), "/".join(map(str, (key, *path))), self._folder, None)

    def flags(self, key: str) -> Flags:
        """`[steps]` bool."""
        return arrays.as_flags(self._values(key, ()), key, self._folder)

    def _values(self, key: str, path: flatten.Where) -> NDArray[Any]:
        stored = self._column(key, path)
        try:
            if stored.null_count:
                raise DatasetError(f"'{key}' of {self._folder} has rows without a value; download it again.")
            if pa.types.is_fixed_size_list(stored.type):
                flat = stored.flatten().to_numpy(zero_copy_only=False)
                return np.asarray(flat).reshape(len(stored), stored.type.list_size)
            return np.asarray(stored.to_numpy(zero_copy_only=False))
        except _ARROW_ERRORS as error:
            raise _damaged(self._folder, error) from error

    def _column(self, key: str, path: flatten.Where) -> Any:
        try:
            stored = self._table.column(key)
            stored = stored.chunk(0) if stored.num_chunks else stored.combine_chunks()
            for step in path:
                stored = stored.field(str(step))
        except _ARROW_ERRORS as error:
            raise _damaged(self._folder, error) from error
        return stored if key == "observations" else stored[:-1]


def _damaged(folder: Path, error: BaseException) -> DatasetError:
    return DatasetError(
        f"{folder} cannot be read ({arrays.first_line(error)}): the file is damaged; download it again."
    )
