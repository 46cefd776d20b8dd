"""Discrete actions: from a dataset's numbers to one-hot rows."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cqlbench.data.transitions import Floats
from cqlbench.errors import DatasetError


@dataclass(frozen=True)
class DiscreteSpace:
    """gymnasium's `Discrete`: `size` actions, numbered from `start` on."""

    size: int
    start: int = 0

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> "DiscreteSpace | None":
        """The action space in a Minari dataset's metadata, if that is a discrete one."""
        try:
            space = json.loads(metadata["action_space"])
            if space["type"] != "Discrete":
                return None
            found = cls(int(space["n"]), int(space.get("start", 0)))
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        return found if found.size > 0 else None

    def one_hot(self, actions: Floats, name: str) -> Floats:
        """Rows with a 1 at the place of each action, `[T]` -> `[T, A]`.

        Args:
            actions: the actions' numbers.
            name: what holds them, for the message.

        Raises:
            DatasetError: a number is not an action.
        """
        places = actions - np.float32(self.start)
        wrong = np.flatnonzero((places < 0) | (places >= self.size) | (places != np.floor(places)))
        if len(wrong):
            raise DatasetError(
                f"{name} is {actions[wrong[0]]:g} at row {wrong[0]}, but the actions of its metadata.json "
                f"are {self.start} to {self.start + self.size - 1}; mend the file, or its metadata."
            )
        rows = np.zeros((len(actions), self.size), np.float32)
        rows[np.arange(len(actions)), places.astype(np.int64)] = 1
        return rows
