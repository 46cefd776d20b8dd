"""Minari's Arrow (and Parquet) storage: one folder for each episode, one row more than there are actions.

A row holds `observations`, `actions`, `rewards`, `terminations` and `truncations`; in the last row all but
the observation are padding. Boxes are lists of fixed size, dictionaries and tuples are structs.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cqlbench.core.errors import DatasetError
from cqlbench.data.readers.arrays import Loaded, reading

try:
    import pyarrow as pa
    import pyarrow.dataset
except ImportError as error:
    raise DatasetError(
        "Minari datasets in Arrow storage need pyarrow, which is not installed; run "
        "`pip install 'cqlbench[arrow]'`, or create the dataset again with data_format='hdf5'."
    ) from error

_COLUMNS = ["observations", "actions", "rewards", "terminations", "truncations"]


class ArrowStorage:
    """The episodes of one dataset's `data` folder."""

    index = "{}"

    def __init__(self, path: Path, storage_format: str) -> None:
        self.path, self._format = path, storage_format

    def members(self) -> list[str]:
        """What lies in the folder."""
        with reading(str(self.path)):
            return [each.name for each in self.path.iterdir()]

    def group(self, key: str) -> Loaded:
        """One episode, without padding.

        Raises:
            DatasetError: it is damaged or lacks a column.
        """
        folder = self.path / key
        with reading(str(folder), pa.ArrowException):
            files = [str(file) for file in sorted(folder.iterdir()) if file.suffix == f".{self._format}"]
            stored = pyarrow.dataset.dataset(files, format=self._format)
            table = stored.to_table(columns=_COLUMNS, use_threads=False).combine_chunks()
            table.validate(full=True)
            if not table.num_rows:
                raise ValueError("it holds no rows")
            arrays: dict[str, NDArray[Any]] = {}
            for name in _COLUMNS:
                column = table.column(name).chunk(0)
                arrays |= dict(_arrays(name, column if name == "observations" else column[:-1]))
        return Loaded(folder, arrays)


def _arrays(name: str, stored: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    """Each array below a column: `[rows, size]` or `[rows]`."""
    if stored.null_count:
        raise ValueError(f"'{name}' has rows without a value")
    if pa.types.is_struct(stored.type):
        for field in stored.type:
            yield from _arrays(f"{name}/{field.name}", stored.field(field.name))
    elif pa.types.is_fixed_size_list(stored.type):
        flat = np.asarray(stored.flatten().to_numpy(zero_copy_only=False))
        yield name, flat.reshape(len(stored), stored.type.list_size)
    else:
        yield name, np.asarray(stored.to_numpy(zero_copy_only=False))
