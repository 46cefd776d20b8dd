"""Observations and actions of any structure -> one flat vector, as `gymnasium.spaces.flatten` makes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import Space, spaces
from numpy.typing import NDArray

from cqlbench.core.errors import DatasetError
from cqlbench.data.transitions import Floats

Where = tuple[str | int, ...]
"""Where a part lies: keys of dictionaries, and places in tuples."""

_IMAGE_AXES = 3


@dataclass(frozen=True)
class Part:
    """One array of the structure.

    Attributes:
        path: where it lies.
        size: numbers it takes in the flat vector.
        starts: `[n]` the smallest category of each of its discrete numbers; empty if they are not discrete.
        categories: `[n]` how many categories each has; each becomes a one-hot vector.
    """

    path: Where
    size: int
    starts: tuple[int, ...] = ()
    categories: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        """Numbers it is stored as."""
        return len(self.categories) or self.size

    def encode(self, values: NDArray[Any], where: str) -> Floats:
        """`[rows, size]`, from `[rows, ...]` as stored; messages call them `where`.

        Raises:
            DatasetError: the values are not of the part's size, or no categories of it.
        """
        flat = values.reshape(len(values), -1)
        if flat.shape[1] != self.width:
            raise DatasetError(
                f"{where} has {flat.shape[1]} numbers in each row, but its space says {self.width}."
            )
        if not self.categories:
            return np.asarray(flat, np.float32)
        result = np.zeros((len(flat), self.size), np.float32)
        first = 0
        for column, (start, count) in enumerate(zip(self.starts, self.categories, strict=True)):
            chosen = flat[:, column] - start
            odd = np.flatnonzero((chosen < 0) | (chosen >= count) | (chosen != np.floor(chosen)))
            if len(odd):
                raise DatasetError(
                    f"{where} is {flat[odd[0], column]:g} at row {odd[0]}, but must be one of {start} to "
                    f"{start + count - 1}."
                )
            result[np.arange(len(flat)), first + chosen.astype(np.int64)] = 1.0
            first += count
        return result


def parts_of(space: Space[Any], keys: Sequence[str] | None, where: str) -> list[Part]:
    """The parts of a space, in the order in which they are joined.

    Args:
        space: of one observation or action.
        keys: which parts of a dictionary, and in which order; a key may be a path (`"goal/position"`). A
            discrete number that is named stays a number, as in evaluation, and an image becomes its pixels.
            `None`: all of them, in the space's own order, discrete numbers as one-hot vectors.
        where: what messages call it.

    Raises:
        DatasetError: the space has no parts, or none of that name, or cannot be flattened.
    """
    found = [_below(space, key, where) for key in keys] if keys else [(space, ())]
    parts = [part for each, path in found for part in _parts(each, path, bool(keys), where)]
    if not parts:
        raise DatasetError(f"{where} has no parts.")
    return parts


def order(parts: Sequence[Part]) -> str:
    """The parts in their order, to be told."""
    return ", ".join(f"{'/'.join(map(str, part.path))} [{part.size}]" for part in parts)


def _below(space: Space[Any], key: str, where: str) -> tuple[Space[Any], Where]:
    path: Where = ()
    for step in key.split("/"):
        inside = _inside(space)
        name = int(step) if isinstance(space, spaces.Tuple) and step.isdecimal() else step
        if name not in inside:
            there = ", ".join(map(str, inside)) or "no parts"
            raise DatasetError(f"{where} has no part '{key}' (there: {there}).")
        space, path = inside[name], (*path, name)
    return space, path


def _inside(space: Space[Any]) -> Mapping[Any, Space[Any]]:
    if isinstance(space, spaces.Tuple):
        return dict(enumerate(space.spaces))
    return space.spaces if isinstance(space, spaces.Dict) else {}


def _parts(space: Space[Any], path: Where, named: bool, where: str) -> list[Part]:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        inside = _inside(space).items()
        return [part for step, each in inside for part in _parts(each, (*path, step), named, where)]
    if isinstance(space, spaces.Discrete) and named:
        return [Part(path, 1)]
    image = not named and len(space.shape or ()) == _IMAGE_AXES and space.dtype == np.uint8
    if isinstance(space, spaces.Box | spaces.MultiBinary) and not image:
        return [Part(path, spaces.flatdim(space))]
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        counts = np.ravel(space.n if isinstance(space, spaces.Discrete) else space.nvec)
        starts = np.ravel(space.start)
        return [Part(path, spaces.flatdim(space), tuple(starts.tolist()), tuple(counts.tolist()))]
    what = "images" if image else f"the space '{type(space).__name__}', which is no vector of numbers"
    raise DatasetError(
        f"{where} holds {what} ({'/'.join(map(str, path)) or 'as a whole'}); name the parts to use in "
        "observation_keys."
    )
