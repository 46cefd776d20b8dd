"""A file's actions: rows of numbers, or one of n to choose from, which become one-hot rows."""

from typing import Any, Literal, NamedTuple

import numpy as np

from cqlbench.core.errors import DatasetError
from cqlbench.data.readers.flatten import Part
from cqlbench.data.transitions import Floats

Kind = Literal["", "discrete", "continuous"]

_MOST_GUESSED = 64
"""Of more, the user must say that they are discrete."""

_MOST = 1024
"""Of more, the user must say how many: each takes a column."""

_BLOCK = 1 << 14
_NAMED = 8


class Actions(NamedTuple):
    """What was read.

    Attributes:
        values: `[T, A]` float32; one-hot rows where they are discrete.
        discrete: whether an action is one of A.
        note: what was done, one sentence; empty if nothing.
    """

    values: Floats
    discrete: bool = False
    note: str = ""


def decode(values: Floats, dtype: np.dtype[Any], kind: Kind, count: int | None, where: str) -> Actions:
    """The actions that `values` stand for.

    Args:
        values: `[T]` or `[T, A]`, as stored.
        dtype: the type that they are stored in.
        kind: what they are; empty: what they look like.
        count: how many discrete actions there are; `None`: up to the highest seen.
        where: what messages call them.

    Raises:
        DatasetError: they may be either kind, or cannot be the one they are said to be.
    """
    if values.ndim > 2:
        raise DatasetError(f"{where} has the shape {list(values.shape)}, and [rows, size] was expected.")
    kind = kind or _looks(values, dtype, where)
    if kind == "continuous":
        return Actions(values if values.ndim == 2 else values[:, None])
    if _one_hot(values):
        width = values.shape[1]
        if count not in (None, width):
            raise DatasetError(f"{where} are one-hot rows of {width} actions, but {count} were stated.")
        return Actions(values, True, f"The file's actions are one-hot rows of {width} discrete actions.")
    numbers = _numbers(values)
    if numbers is None:
        raise DatasetError(
            f"{where} are no discrete actions: one whole number or a one-hot row is needed in each row, and "
            f"the shape is {list(values.shape)}; several discrete actions at once are not supported."
        )
    high = float(numbers.max(initial=0))
    if count is None and high >= _MOST:
        raise DatasetError(
            f"{where} reach {high:g}: of {_MOST} discrete actions or more, give action_count=."
        )
    size = count or max(int(high) + 1, 2)
    encoded = Part((), size, (0,), (size,)).encode(numbers, where)
    unseen = [str(action) for action in np.flatnonzero(~encoded.any(axis=0))]
    never = (
        f"; never taken: {', '.join(unseen[:_NAMED])}{', …' if len(unseen) > _NAMED else ''}"
        if unseen
        else ""
    )
    note = f"The file's actions are whole numbers, read as {size} discrete actions numbered from 0{never}."
    return Actions(encoded, True, note)


def may_be_discrete(head: Floats) -> bool:
    """Whether the first rows of a file's actions, `[T]` or `[T, A]`, may be discrete."""
    numbers = _numbers(head)
    return _one_hot(head) if numbers is None else bool((numbers == np.floor(numbers)).all())


def _looks(values: Floats, dtype: np.dtype[Any], where: str) -> Kind:
    if _one_hot(values) and len(np.unique(values.argmax(axis=1))) > 1:
        return "discrete"
    integers, numbers = dtype.kind in "iub", _numbers(values)
    if numbers is None:
        if integers and values.min(initial=0) >= 0:
            raise _ambiguous(f"{where} are whole numbers in {values.shape[1]} columns")
        return "continuous"
    if len(numbers) == 0 or not (numbers == np.floor(numbers)).all():
        return "continuous"
    low, high = float(numbers.min()), float(numbers.max())
    if not integers and (low < 0 or high == 0):
        return "continuous"
    seen = len(np.unique(numbers)) if high < _MOST_GUESSED else 0
    # Stored as floats, {0, 1} may be a switch that is on or off as well as a number from 0 to 1.
    if low < 0 or not seen or not (integers or (high > 1 and seen == high + 1)):
        raise _ambiguous(f"{where} are whole numbers from {low:g} to {high:g}")
    return "discrete"


def _ambiguous(what: str) -> DatasetError:
    return DatasetError(
        f"{what}, which may be discrete actions or continuous ones: say which by importing the file, "
        "`cqlbench data import FILE id=my/data-v0 actions=discrete` (action_count= if some are never taken), "
        "or actions=continuous with their bounds, action_low= and action_high=."
    )


def _numbers(values: Floats) -> Floats | None:
    """`[T]` where each row has one number."""
    return values.reshape(-1) if values.ndim == 1 or values.shape[1] == 1 else None


def _one_hot(values: Floats) -> bool:
    if values.ndim != 2 or values.shape[1] < 2 or not len(values):
        return False
    blocks = (values[start : start + _BLOCK] for start in range(0, len(values), _BLOCK))
    return all(((block == 0) | (block == 1)).all() and (block.sum(axis=1) == 1).all() for block in blocks)
