"""Observations and actions of any structure -> one flat vector, as `gymnasium.spaces.flatten` makes it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
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
    def name(self) -> str:
        """The path as text."""
        return "/".join(map(str, self.path))

    def encode(self, values: NDArray[Any]) -> Floats:
        """`[rows, size]`, from `[rows, ...]` as stored.

        Raises:
            DatasetError: the values are not of the part's size, or no categories of it.
        """
        flat = values.reshape(len(values), -1)
        width = len(self.categories) or self.size
        if flat.shape[1] != width:
            raise DatasetError(f"has {flat.shape[1]} numbers in each row, but its space says {width}")
        if not self.categories:
            return np.asarray(flat, np.float32)
        result = np.zeros((len(flat), self.size), np.float32)
        first = 0
        for column, (start, count) in enumerate(zip(self.starts, self.categories, strict=True)):
            chosen = flat[:, column] - start
            odd = np.flatnonzero((chosen < 0) | (chosen >= count) | (chosen != np.floor(chosen)))
            if len(odd):
                raise DatasetError(
                    f"is {flat[odd[0], column]:g} at row {odd[0]}, but must be one of {start} to "
                    f"{start + count - 1}"
                )
            result[np.arange(len(flat)), first + chosen.astype(np.int64)] = 1.0
            first += count
        return result


def parts_of(space: Mapping[str, Any], keys: Sequence[str] | None = None) -> list[Part]:
    """The parts of a space, in the order in which they are joined.

    Args:
        space: a space as Minari writes it, such as `{"type": "Box", "shape": [3]}`.
        keys: which parts of a dictionary, and in which order; a key may be a path (`"goal/position"`). A
            discrete number that is named stays a number, as in evaluation, and an image becomes its pixels.
            `None`: all of them, in the space's own order, discrete numbers as one-hot vectors.

    Raises:
        DatasetError: the space has no part of that name, or cannot be flattened. The sentence has no subject.
    """
    try:
        if not keys:
            return _parts(space, ())
        return [part for key in keys for part in _parts(*_below(space, key), named=True)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(f"is described by a space that makes no sense ({error!r})") from error


def order(parts: Sequence[Part]) -> str:
    """The parts in their order, to be told."""
    return ", ".join(f"{part.name} [{part.size}]" for part in parts)


def _below(space: Mapping[str, Any], key: str) -> tuple[Mapping[str, Any], Where]:
    path: Where = ()
    for step in key.split("/"):
        inside = space["subspaces"] if space["type"] in ("Dict", "Tuple") else {}
        name = int(step) if isinstance(inside, list) and step.isdecimal() else step
        names = range(len(inside)) if isinstance(inside, list) else list(inside)
        if name not in names:
            there = ", ".join(map(str, names)) or "no parts"
            raise DatasetError(f"has no part '{key}' (there: {there})")
        space = inside[name]
        path = (*path, name)
    return space, path


def _parts(space: Mapping[str, Any], path: Where, named: bool = False) -> list[Part]:
    kind = space["type"]
    if kind in ("Dict", "Tuple"):
        inside = space["subspaces"]
        steps = list(inside) if kind == "Dict" else range(len(inside))
        return [part for step in steps for part in _parts(inside[step], (*path, step), named)]
    if kind == "Discrete" and named:
        return [Part(path, 1)]
    if kind == "Box":
        if not named and len(space["shape"]) == _IMAGE_AXES and space.get("dtype") == "uint8":
            raise DatasetError(
                f"holds images{_at(path)}, which are used only where observation_keys names them"
            )
        return [Part(path, math.prod(space["shape"]))]
    if kind == "MultiBinary":
        return [Part(path, int(np.prod(space["n"])))]
    if kind == "Discrete":
        return [Part(path, int(space["n"]), (int(space.get("start", 0)),), (int(space["n"]),))]
    if kind == "MultiDiscrete":
        categories = tuple(int(count) for count in np.ravel(space["nvec"]))
        starts = tuple(int(start) for start in np.ravel(space.get("start", [0] * len(categories))))
        return [Part(path, sum(categories), starts, categories)]
    raise DatasetError(
        f"has the space '{kind}'{_at(path)}, which is no vector of numbers; name the parts to use in the "
        "card's observation_keys"
    )


def _at(path: Where) -> str:
    return f" at '{'/'.join(map(str, path))}'" if path else ""
