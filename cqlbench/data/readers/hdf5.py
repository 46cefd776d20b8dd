"""Safe reading of HDF5 files: whatever is wrong with one ends in a sentence, never in an h5py traceback."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from cqlbench.core.errors import DatasetError
from cqlbench.core.paths import kind
from cqlbench.data.readers import arrays
from cqlbench.data.transitions import Flags, Floats

_LARGE = 1 << 28
_MANY = 1000
# Deflate cannot do better than 1032:1. A damaged shape would otherwise be filled with terabytes of zeros.
_MOST_COMPRESSED = 1032

# What h5py raises for damaged chunks, missing filters, dangling links and impossible conversions.
_H5PY_ERRORS = (OSError, KeyError, RuntimeError, ValueError, TypeError, NotImplementedError)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open `path` for reading.

    Raises:
        DatasetError: the file is missing, not HDF5, cut short or damaged.
    """
    found = kind(path)
    if found is None:
        raise DatasetError(f"There is no file {path}; check the path.")
    if found != "file":
        raise DatasetError(f"{path} is not a file; give the path of an HDF5 file.")
    try:
        if not h5py.is_hdf5(path):
            raise DatasetError(f"{path} is not an HDF5 file (no HDF5 signature); fetch or export it again.")
        file = h5py.File(path, "r")
    except _H5PY_ERRORS as error:
        raise DatasetError(
            f"{path} cannot be opened: it is cut short, damaged or unreadable ({arrays.first_line(error)}); "
            "fetch or export it again."
        ) from error
    with file:
        yield file


def members(group: h5py.Group, path: Path) -> list[str]:
    """Names in a group, in HDF5's order.

    Raises:
        DatasetError: the group cannot be listed.
    """
    try:
        # h5py hands out bytes where a name is not UTF-8
        return [name if isinstance(name, str) else name.decode(errors="replace") for name in group]
    except _H5PY_ERRORS as error:
        raise _damaged(group.name, path, error) from error


def array_names(file: h5py.File, path: Path) -> list[str]:
    """Names of arrays, of those in groups with the groups'; of very many the first thousand or so.

    Raises:
        DatasetError: the file cannot be listed.
    """
    names = members(file, path)

    def add(name: str, member: Any) -> bool | None:
        if isinstance(member, h5py.Dataset):
            names.append(name)
        return True if len(names) > _MANY else None  # anything but None ends the visit

    try:
        names = [name for name in names if file.get(name, getclass=True) is h5py.Dataset]
        file.visititems(add)
    except _H5PY_ERRORS as error:
        raise _damaged("/", path, error) from error
    return list(dict.fromkeys(names))


def subgroup(group: h5py.Group, key: str, path: Path) -> h5py.Group:
    """The group `key` inside `group`.

    Raises:
        DatasetError: it cannot be read or is not a group.
    """
    try:
        member = group[key]
    except _H5PY_ERRORS as error:
        raise _damaged(key, path, error) from error
    if not isinstance(member, h5py.Group):
        raise DatasetError(f"'{key}' of {path} is not a group, and one episode was expected there.")
    return member


def require_keys(group: h5py.Group, keys: Sequence[str], path: Path, hint: str = "") -> None:
    """Check that all of `keys` are in `group`.

    Raises:
        DatasetError: some are missing; the message lists those and what there is instead.
    """
    present = members(group, path)
    missing = [key for key in keys if key not in present]
    if missing:
        place = f"'{group.name.strip('/')}' of {path}" if group.name != "/" else str(path)
        raise DatasetError(
            f"{place} lacks {', '.join(missing)} (it has: {arrays.shown(present)}){hint or '.'}"
        )


def shape(group: h5py.Group, key: str, path: Path) -> tuple[int, ...] | None:
    """The shape of the array `key`; `None`: it is a group.

    Raises:
        DatasetError: it cannot be read, or is no array of numbers.
    """
    name = _name(group, key)
    try:
        member = group[key]
        if isinstance(member, h5py.Group):
            return None
        found, dtype = member.shape, member.dtype
    except _H5PY_ERRORS as error:
        raise _damaged(name, path, error) from error
    arrays.check_shape(found, dtype, None, name, path)
    return tuple(found)


def dataset(group: h5py.Group, key: str, path: Path, dimensions: int | None) -> h5py.Dataset:
    """The numeric dataset `key`, with `dimensions` axes (see `arrays.check_shape`).

    Raises:
        DatasetError: it is a group, a scalar, empty, not numeric, or has another number of axes.
    """
    name = _name(group, key)
    try:
        member = group[key]
        if not isinstance(member, h5py.Dataset):
            raise DatasetError(f"'{name}' of {path} is a group, and an array was expected.")
        shape, dtype = member.shape, member.dtype
    except _H5PY_ERRORS as error:
        raise _damaged(name, path, error) from error
    arrays.check_shape(shape, dtype, dimensions, name, path)
    return member


def floats(
    group: h5py.Group, key: str, path: Path, dimensions: int | None, rows: int | None = None
) -> Floats:
    """The dataset `key` as float32, converted by HDF5 on the way into one new array.

    Args:
        group: where it lies.
        key: its name.
        path: the file.
        dimensions: how many axes it must have (see `arrays.check_shape`).
        rows: how many of its first rows are read; `None`: all.

    Raises:
        DatasetError: as `dataset`; also if it cannot be read or holds NaN or infinity.
    """
    source = dataset(group, key, path, dimensions)
    name = _name(group, key)
    arrays.refuse_truth_values(source.dtype, name, path)
    values = _read(source, np.dtype(np.float32), name, path, rows)
    arrays.check_floats(values, name, path)
    return values.reshape(len(values)) if dimensions == 1 else values


def flags(group: h5py.Group, key: str, path: Path) -> Flags:
    """The dataset `key` as `[T]` bool; 0 and 1 of any numeric type will do.

    Raises:
        DatasetError: as `dataset`; also if it cannot be read or holds anything but 0 and 1.
    """
    source = dataset(group, key, path, dimensions=1)
    name = _name(group, key)
    return arrays.as_flags(_read(source, source.dtype, name, path), name, path)


def _read(
    source: h5py.Dataset, dtype: np.dtype[Any], name: str, path: Path, rows: int | None = None
) -> NDArray[Any]:
    try:
        stored, claimed = source.id.get_storage_size(), source.size * source.dtype.itemsize
        if claimed > _LARGE and claimed > _MOST_COMPRESSED * stored:
            raise DatasetError(
                f"'{name}' of {path} says its shape is {list(source.shape)}, but only {stored} bytes are "
                "there: the file is damaged; fetch or export it again."
            )
        first = slice(0, len(source) if rows is None else min(rows, len(source)))
        out = np.empty((first.stop, *source.shape[1:]), dtype)
        if out.size:  # HDF5 refuses to read an empty selection
            source.read_direct(out, first)
    except MemoryError as error:
        raise DatasetError(
            f"'{name}' of {path} says its shape is {list(source.shape)}, which does not fit into memory; "
            "the file is damaged, or needs a larger machine."
        ) from error
    except _H5PY_ERRORS as error:
        raise _damaged(name, path, error) from error
    return out


def _name(group: h5py.Group, key: str) -> str:
    return f"{group.name}/{key}".lstrip("/")


def _damaged(name: str, path: Path, error: BaseException) -> DatasetError:
    return DatasetError(
        f"'{name}' of {path} cannot be read ({arrays.first_line(error)}): the file is damaged; "
        "fetch or export it again."
    )
