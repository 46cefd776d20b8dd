"""Safe reading of HDF5 files: whatever is wrong with one ends in a sentence, never in an h5py traceback."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from cqlbench.core.errors import DatasetError
from cqlbench.core.paths import kind
from cqlbench.data.readers.arrays import Arrays, reading

_LARGE = 1 << 28
_MANY = 1000
# Deflate cannot do better than 1032:1. A damaged shape would otherwise be filled with terabytes of zeros.
_MOST_COMPRESSED = 1032


@contextlib.contextmanager
def opened(path: Path) -> Iterator["Hdf5"]:
    """Open `path` for reading.

    Raises:
        DatasetError: the file is missing, not HDF5, cut short or damaged.
    """
    if (found := kind(path)) != "file":
        raise DatasetError(f"There is no file {path}{' but a folder' if found else ''}; check the path.")
    with reading(str(path)):
        file = h5py.File(path, "r")
    with file:
        yield Hdf5(path, file)


class Hdf5(Arrays):
    """The arrays of an open file, or of a group of it."""

    index = "_index_{}"
    """What Minari calls a member of a tuple."""

    def __init__(self, path: Path, group: h5py.Group) -> None:
        super().__init__(path, group.name)
        self._group = group

    def attributes(self) -> Mapping[str, Any]:
        """What is noted of the group."""
        with reading(self.where()):
            return dict(self._group.attrs)

    def members(self, key: str = "") -> list[str]:
        """See `Arrays`; in HDF5's order."""
        group = self.group(key)._group if key else self._group
        with reading(self.where(key)):
            # h5py hands out bytes where a name is not UTF-8
            return [name if isinstance(name, str) else name.decode(errors="replace") for name in group]

    def names(self) -> list[str]:
        """See `Arrays`; of very many the first thousand or so."""
        names: list[str] = []

        def add(name: str | bytes, member: Any) -> bool | None:
            if isinstance(name, str) and isinstance(member, h5py.Dataset):
                names.append(name)
            return True if len(names) > _MANY else None  # anything but None ends the visit

        with reading(self.where()):
            names += [key for key in self.members() if self._group.get(key, getclass=True) is h5py.Dataset]
            self._group.visititems(add)
        return list(dict.fromkeys(names))

    def group(self, key: str) -> "Hdf5":
        """A group inside this one."""
        with reading(self.where(key)):
            member = self._group[key]
        if not isinstance(member, h5py.Group):
            raise DatasetError(f"{self.where(key)} is not a group, and one was expected there.")
        return Hdf5(self.path, member)

    def is_group(self, key: str) -> bool:
        """Whether there is a group of that name."""
        with reading(self.where(key)):
            return key in self._group and self._group.get(key, getclass=True) is h5py.Group

    def _stored(self, key: str) -> Any:
        member = self._group[key]
        if not isinstance(member, h5py.Group | h5py.Dataset):
            raise TypeError("it is no array")
        return None if isinstance(member, h5py.Group) else member

    def _loaded(self, stored: Any, dtype: np.dtype[Any], rows: int | None) -> NDArray[Any]:
        """Converted by HDF5 on the way into one new array."""
        there, claimed = stored.id.get_storage_size(), stored.size * stored.dtype.itemsize
        if claimed > _LARGE and claimed > _MOST_COMPRESSED * there:
            raise ValueError(f"its shape is {list(stored.shape)}, but only {there} bytes are there")
        first = slice(0, len(stored) if rows is None else min(rows, len(stored)))
        out = np.empty((first.stop, *stored.shape[1:]), dtype)
        if out.size:  # HDF5 refuses to read an empty selection
            stored.read_direct(out, first)
        return out
