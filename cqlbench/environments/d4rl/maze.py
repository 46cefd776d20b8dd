"""What D4RL's mazes share: a map of walls, and a MuJoCo model to which its blocks are added."""

import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv
from numpy.typing import NDArray

Cell = tuple[int, int]
"""(line, character) of a map."""

Outcome = tuple[NDArray[np.float64], np.float64, bool, bool, dict[str, np.float64]]
"""What `gymnasium.Env.step` returns."""


@dataclass(frozen=True)
class Maze:
    """A map: lines of equal length, in which `#` is a wall and anything else is free.

    Raises:
        ValueError: its lines differ in length, or there is nothing free.
    """

    lines: tuple[str, ...]

    def __post_init__(self) -> None:
        if len({len(line) for line in self.lines}) != 1 or not self.free:
            raise ValueError("a maze has lines of equal length and a cell that is not a wall")

    @property
    def walls(self) -> list[Cell]:
        """In reading order."""
        return [cell for cell in self._cells() if self._is_wall(cell)]

    @property
    def free(self) -> list[Cell]:
        """In reading order."""
        return [cell for cell in self._cells() if not self._is_wall(cell)]

    def neighbours(self, cell: Cell) -> list[Cell]:
        """Free cells beside a cell: at smaller character, greater character, smaller line, greater line."""
        line, character = cell
        beside = [(line, character - 1), (line, character + 1), (line - 1, character), (line + 1, character)]
        return [each for each in beside if self._inside(each) and not self._is_wall(each)]

    def _cells(self) -> list[Cell]:
        return [(i, j) for i, line in enumerate(self.lines) for j in range(len(line))]

    def _inside(self, cell: Cell) -> bool:
        return 0 <= cell[0] < len(self.lines) and 0 <= cell[1] < len(self.lines[0])

    def _is_wall(self, cell: Cell) -> bool:
        return self.lines[cell[0]][cell[1]] == "#"


class ModelEnv(MujocoEnv):
    """A `MujocoEnv` of a model that is made on the spot, whose state can be saved.

    Attributes:
        STATE: names of the arrays and numbers that following steps and episodes depend on, besides the
            simulator's state and the generator, such as `goal` or `model.body_pos`.
    """

    STATE: tuple[str, ...] = ()

    def __init__(self, model: ET.Element, frame_skip: int, observation_space: Any, **kwargs: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.xml"
            path.write_bytes(ET.tostring(model))
            super().__init__(str(path), frame_skip, observation_space, **kwargs)


def add(parent: ET.Element, tag: str, **attributes: str | float | Sequence[float]) -> ET.Element:
    """Add an element of MJCF; numbers are written to the last bit."""
    texts = {name: value if isinstance(value, str) else _text(value) for name, value in attributes.items()}
    return ET.SubElement(parent, tag, texts)


def _text(value: float | Sequence[float]) -> str:
    return " ".join(map(repr, value if isinstance(value, Sequence) else [value]))
