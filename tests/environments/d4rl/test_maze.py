import pytest

from cqlbench.environments.d4rl.maze import Maze

HOOK = Maze(("####", "#..#", "##.#", "####"))


def test_cells():
    assert HOOK.free == [(1, 1), (1, 2), (2, 2)]
    assert len(HOOK.walls) == 13
    assert HOOK.neighbours((1, 2)) == [(1, 1), (2, 2)]
    assert Maze(("..", "..")).neighbours((0, 0)) == [(0, 1), (1, 0)]  # the map's edge is no cell


@pytest.mark.parametrize("lines", [("##", "##"), ("#.", "#"), ()])
def test_what_is_no_maze(lines):
    with pytest.raises(ValueError, match="maze"):
        Maze(lines)
