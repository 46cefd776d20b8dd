"""A file's arrays behind one face, and what every reader asks of one: shape, type and values."""

import abc
import contextlib
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from cqlbench.core.errors import DatasetError
from cqlbench.data.transitions import Flags, Floats

Array = TypeVar("Array", bound=NDArray[Any])

_BLOCK = 1 << 14
"""Rows looked at together, so that no check needs memory in proportion to the dataset."""

# What h5py, zipfile and numpy raise at damaged files, dangling links and impossible conversions.
_ERRORS = (
    OSError, EOFError, LookupError, TypeError, ValueError, RuntimeError, MemoryError, ArithmeticError,
    SyntaxError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class Arrays(abc.ABC):
    """Named arrays, some in groups: `a/b` is `b` of the group `a`. Whatever is wrong is a `DatasetError`.

    Args:
        path: the file, for messages.
        place: the group inside the file that names start from; empty: its top.

    Attributes:
        notes: what is to be known of how the arrays are put together.
        hint: what to do where one is missing; ends a sentence.
    """

    notes: tuple[str, ...] = ()
    hint = "."

    def __init__(self, path: Path, place: str = "") -> None:
        self.path, self._place = path, place

    @abc.abstractmethod
    def members(self, key: str = "") -> list[str]:
        """Names at the top or in a group."""

    @abc.abstractmethod
    def names(self) -> list[str]:
        """Every array's name, of those in a group with the group's."""

    @abc.abstractmethod
    def _stored(self, key: str) -> Any:
        """What has a `shape` and a `dtype`, and can be loaded; `None`: a group."""

    def _loaded(self, stored: Any, dtype: np.dtype[Any], rows: int | None) -> NDArray[Any]:
        return cast("NDArray[Any]", stored[:rows].astype(dtype, copy=False))

    def where(self, key: str = "") -> str:
        """What messages call an array or group."""
        name = f"{self._place}/{key}".strip("/")
        return f"'{name}' of {self.path}" if name else str(self.path)

    def require(self, keys: Sequence[str]) -> None:
        """Refuse a group that lacks some of `keys`."""
        present = self.members()
        if missing := [key for key in keys if key not in present]:
            raise DatasetError(
                f"{self.where()} lacks {', '.join(missing)} (it has: {shown(present)}){self.hint}"
            )

    def shape(self, key: str) -> tuple[int, ...] | None:
        """The shape of an array of numbers; `None`: a group."""
        with reading(self.where(key)):
            is_group = self._stored(key) is None
        return None if is_group else tuple(self._array(key, None).shape)

    def dtype(self, key: str) -> np.dtype[Any]:
        """The type that an array is stored in."""
        return cast("np.dtype[Any]", self._array(key, None).dtype)

    def values(self, key: str) -> NDArray[Any]:
        """An array of numbers as stored."""
        stored = self._array(key, None)
        with reading(self.where(key)):
            return self._loaded(stored, stored.dtype, None)

    def floats(self, key: str, dimensions: int | None = None, rows: int | None = None) -> Floats:
        """An array as finite float32: `[T]` for one dimension, `[T, size]` for two, otherwise as it is.

        Args:
            key: its name.
            dimensions: how many axes it must have; where one is wanted, `[T, 1]` is taken as well, which
                D4RL's replay files have.
            rows: how many of its first rows are read; `None`: all.
        """
        stored, where = self._array(key, dimensions), self.where(key)
        if stored.dtype.kind == "b":
            raise DatasetError(f"{where} holds true/false values; store them as the numbers 0 and 1.")
        with reading(where), np.errstate(over="ignore", invalid="ignore"):
            values: Floats = self._loaded(stored, np.dtype(np.float32), rows)
        if (row := first_not_finite(values)) is not None:
            raise DatasetError(
                f"{where} holds NaN, infinity or a value too large for float32, first at row {row}; "
                "repair or leave out that row."
            )
        return values.reshape(len(values)) if dimensions == 1 else values

    def flags(self, key: str) -> Flags:
        """An array as `[T]` bool; 0 and 1 of any numeric type will do."""
        stored, where = self._array(key, 1), self.where(key)
        with reading(where):
            values = self._loaded(stored, stored.dtype, None)
        values = values.reshape(len(values))
        result = values.astype(np.bool_)
        odd = np.flatnonzero(values != result)
        if len(odd):
            raise DatasetError(f"{where} must hold only 0 and 1, and row {odd[0]} is {values[odd[0]]}.")
        return result

    def _array(self, key: str, dimensions: int | None) -> Any:
        where = self.where(key)
        with reading(where):
            if (stored := self._stored(key)) is None:
                raise DatasetError(f"{where} is a group, and an array was expected.")
            shape, dtype = stored.shape, stored.dtype
        if not shape:
            raise DatasetError(f"{where} is a single value, and an array with one row per step is needed.")
        if dtype.kind not in "fiub":
            raise DatasetError(f"{where} has the type {dtype}, and numbers were expected.")
        rank = 1 if dimensions == 1 and shape[1:] == (1,) else len(shape)
        if dimensions not in (None, rank):
            wanted = "[rows, size]" if dimensions == 2 else "[rows]"
            raise DatasetError(f"{where} has the shape {list(shape)}, and {wanted} was expected.")
        return stored


class Loaded(Arrays):
    """Arrays of a mapping, such as an open npz file."""

    def __init__(self, path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
        super().__init__(path)
        self._arrays = arrays

    def names(self) -> list[str]:
        """See `Arrays`."""
        return list(self._arrays)

    def members(self, key: str = "") -> list[str]:
        """See `Arrays`."""
        group = f"{key}/" if key else ""
        inside = [name.removeprefix(group) for name in self._arrays if name.startswith(group)]
        return list(dict.fromkeys(name.partition("/")[0] for name in inside))

    def _stored(self, key: str) -> Any:
        return None if key not in self._arrays and self.members(key) else np.asarray(self._arrays[key])


@contextlib.contextmanager
def reading(what: str, *more: type[Exception]) -> Iterator[None]:
    """Make one sentence about `what` of the errors that libraries, and `more`, raise at damaged files."""
    try:
        yield
    except _ERRORS + more as error:
        raise DatasetError(
            f"{what} cannot be read ({first_line(error)}): the file is damaged, cut short or of another "
            "kind; fetch or export it again."
        ) from error


def first_not_finite(values: Floats) -> int | None:
    """The first row that holds NaN or infinity, or `None`."""
    for start in range(0, len(values), _BLOCK):
        finite = np.isfinite(values[start : start + _BLOCK])
        if not finite.all():
            return start + int(np.argwhere(~finite)[0, 0])
    return None


def keep_rows(values: Array, kept: Flags) -> Array:
    """The rows of `values` where `kept` is set, moved together in place: a view, and no second array."""
    if kept.all():
        return values
    filled = 0
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK][kept[start : start + _BLOCK]]
        values[filled : filled + len(block)] = block
        filled += len(block)
    return cast("Array", values[:filled])


def shown(names: Iterable[str]) -> str:
    """The first dozen names of what is there, in a sentence."""
    ordered = sorted(names)
    return ", ".join(ordered[:12]) + (", …" if len(ordered) > 12 else "") or "nothing"


def first_line(error: BaseException) -> str:
    """What a library said, to stand in a sentence of ours."""
    return (str(error).strip("'\"").splitlines() or [type(error).__name__])[0].rstrip(".")
