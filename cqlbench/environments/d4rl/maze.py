"""The maps of D4RL's mazes."""

from dataclasses import dataclass

Cell = tuple[int, int]
"""(line, character) of a map."""


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
