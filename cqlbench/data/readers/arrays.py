"""What every reader asks of an array of a file: shape, type and values, or one sentence."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from cqlbench.core.errors import DatasetError
from cqlbench.data.transitions import Flags, Floats

Array = TypeVar("Array", bound=NDArray[Any])

_BLOCK = 1 << 14
"""Rows looked at together, so that no check needs memory in proportion to the dataset."""


def check_shape(
    shape: tuple[int, ...] | None, dtype: np.dtype[Any], dimensions: int | None, name: str, path: Path
) -> None:
    """Refuse what is no numeric array of `dimensions` axes (`None`: one or more).

    Where one axis is wanted, `[T, 1]` will do as well: D4RL's replay files keep rewards and flags so.

    Raises:
        DatasetError: it is a scalar, empty, not numeric, or has another number of axes.
    """
    if shape is None or shape == ():
        raise DatasetError(
            f"'{name}' of {path} is a single value, and an array with one row per step is needed."
        )
    if dtype.kind not in "fiub":
        raise DatasetError(f"'{name}' of {path} has the type {dtype}, and numbers were expected.")
    column = dimensions == 1 and len(shape) == 2 and shape[1] == 1
    if dimensions is not None and len(shape) != dimensions and not column:
        wanted = "[rows, size]" if dimensions == 2 else "[rows]"
        raise DatasetError(f"'{name}' of {path} has the shape {list(shape)}, and {wanted} was expected.")


def check_floats(values: Floats, name: str, path: Path) -> None:
    """Refuse NaN and infinity.

    Raises:
        DatasetError: naming the first row that has one.
    """
    row = first_not_finite(values)
    if row is not None:
        raise DatasetError(
            f"'{name}' of {path} holds NaN, infinity or a value too large for float32, first at row {row}; "
            "repair or leave out that row."
        )


def as_floats(values: NDArray[Any], name: str, path: Path, dimensions: int | None) -> Floats:
    """`values` as float32: `[T]` for one dimension, `[T, size]` for two, otherwise as they are.

    Raises:
        DatasetError: they have another shape or type, or are not all finite.
    """
    check_shape(values.shape, values.dtype, dimensions, name, path)
    refuse_truth_values(values.dtype, name, path)
    with np.errstate(over="ignore", invalid="ignore"):
        result = values.astype(np.float32, copy=False)
    check_floats(result, name, path)
    return result.reshape(len(result)) if dimensions == 1 else result


def refuse_truth_values(dtype: np.dtype[Any], name: str, path: Path) -> None:
    """Refuse bool where numbers belong.

    Raises:
        DatasetError: the type is bool.
    """
    if dtype.kind == "b":
        raise DatasetError(f"'{name}' of {path} holds true/false values; store them as the numbers 0 and 1.")


def as_flags(values: NDArray[Any], name: str, path: Path) -> Flags:
    """`values` as `[T]` bool; 0 and 1 of any numeric type will do.

    Raises:
        DatasetError: they have another shape or type, or hold anything but 0 and 1.
    """
    check_shape(values.shape, values.dtype, 1, name, path)
    values = values.reshape(len(values))
    result = values.astype(np.bool_)
    odd = np.flatnonzero(values != result)
    if len(odd):
        raise DatasetError(
            f"'{name}' of {path} must hold only 0 and 1, and row {odd[0]} is {values[odd[0]]}."
        )
    return result


def first_not_finite(values: Floats) -> int | None:
    """The first row that holds NaN or infinity, or `None`."""
    for start in range(0, len(values), _BLOCK):
        finite = np.isfinite(values[start : start + _BLOCK])
        if not finite.all():
            return start + int(np.argwhere(~finite)[0, 0])
    return None


def keep_rows(values: Array, kept: Flags) -> Array:
    """The rows of `values` where `kept` is set, moved together in place: a view, and no second array."""
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
