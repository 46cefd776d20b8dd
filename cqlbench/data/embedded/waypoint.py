"""A controller that drives a ball through a maze: D4RL's, which recorded maze2d and scores 100 in it.

Facts: Farama-Foundation/D4RL@89141a6:d4rl/pointmaze/waypoint_controller.py. It looks up the shortest way from
cell to cell, and steers for the next cell as a spring with a damper would.
"""

import zlib
from collections import deque

import numpy as np
from numpy.typing import NDArray

from cqlbench.core.seeding import Purpose, numpy_generator
from cqlbench.environments.d4rl.maze import Cell, Maze

Floats = NDArray[np.float64]

# Runs use the same seeds: the balls' numbers must not be those of their collectors.
_STREAM = zlib.crc32(b"maze-play")

_SPRING, _DAMPER = 10.0, 1.0
"""Force per distance from the way-point, and per speed, against it."""
_REACH = 0.1
"""Nearer than this to a way-point, the ball turns to the next one."""
_NOISE, _NEAR = 0.5, 0.5
"""Standard deviation of what D4RL added to a force; nearer than this to a cell, a ball heads for another."""


class WaypointController:
    """From a ball's position and velocity to the force on it, both numbers in ±1.

    A controller keeps the way that it has found as long as the goal's cell stays the same: call `reset` at
    the start of an episode. D4RL's reference scores were made without, by a ball that heads for the goal
    through walls from the second episode on (D4RL issue 215).

    Args:
        maze: the map.
        generator: of the way-points' offsets.
        offset: a way-point lies at most so far below its cell's numbers, in both directions; the last one
            lies at the goal cell's numbers.
    """

    def __init__(self, maze: Maze, generator: np.random.Generator, offset: float = 0.2) -> None:
        self._maze, self._generator, self._offset = maze, generator, offset
        self._goal: Cell | None = None
        self._way: list[Floats] = []

    def reset(self) -> None:
        """Forget the way."""
        self._goal = None

    def __call__(self, position: Floats, velocity: Floats, goal: Floats) -> Floats:
        """The force, `[2]`, at a position, `[2]`, and velocity, `[2]`, on the way to a goal, `[2]`."""
        target = _cell(goal)
        if target != self._goal:
            self._goal, self._way = target, self._waypoints(_cell(position), target)
        waypoint = self._way[0]
        force = _SPRING * (waypoint - position) - _DAMPER * velocity
        if len(self._way) > 1 and np.linalg.norm(waypoint - position) < _REACH:
            del self._way[0]
        return np.clip(force, -1.0, 1.0)

    def _waypoints(self, start: Cell, goal: Cell) -> list[Floats]:
        way = shortest_way(self._maze, start, goal)[1:] or [goal]
        offsets = self._generator.uniform(0.0, self._offset, (len(way), 2))
        offsets[-1] = 0.0
        return list(np.array(way, np.float64) - offsets)


class MazePlay:
    """Balls that are driven from cell to cell, each drawn at random, by D4RL's controller and with its noise.

    So D4RL recorded antmaze's -play: rows lead anywhere, and to the task's goal now and then.

    Args:
        maze: the map.
        seed: of the cells and way-points.
    """

    observation_size, action_size = 4, 2

    def __init__(self, maze: Maze, seed: int) -> None:
        self._maze, self._seed = maze, seed
        self.action_low, self.action_high = -np.ones(2, np.float32), np.ones(2, np.float32)
        self._balls: list[tuple[WaypointController, np.random.Generator]] = []
        self._goals: list[Floats] = []

    def sample(
        self, observations: Floats, normals: Floats, starting: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """The forces on all balls, `[n, 2]`, by positions and velocities, `[n, 4]`, and normals, `[n, 2]`.

        The episode of balls that are `starting`, `[n]`, begins.
        """
        for ball in range(len(self._balls), len(observations)):
            generator = numpy_generator(self._seed, Purpose.COLLECTION, _STREAM, ball)
            self._balls.append((WaypointController(self._maze, generator), generator))
            self._goals.append(np.full(2, np.inf))
        forces = np.empty((len(observations), 2))
        for ball, (controller, generator) in enumerate(self._balls):
            position, velocity = observations[ball, :2], observations[ball, 2:]
            if starting[ball]:
                controller.reset()
            if starting[ball] or np.linalg.norm(position - self._goals[ball]) < _NEAR:
                free = self._maze.free
                self._goals[ball] = np.array(free[generator.integers(len(free))], np.float64)
            forces[ball] = controller(position, velocity, self._goals[ball])
        return np.clip(forces + _NOISE * normals, -1.0, 1.0).astype(np.float32)


def shortest_way(maze: Maze, start: Cell, goal: Cell) -> list[Cell]:
    """The cells from `start` to `goal`, both included; of ways as short, the one by the earliest neighbours.

    Raises:
        ValueError: there is no way.
    """
    steps = {goal: 0}
    waiting = deque([goal])
    while waiting:
        cell = waiting.popleft()
        for each in maze.neighbours(cell):
            if each not in steps:
                steps[each] = steps[cell] + 1
                waiting.append(each)
    if start not in steps:
        raise ValueError(f"no way leads from {start} to {goal}")
    way = [start]
    while way[-1] != goal:
        way.append(min(maze.neighbours(way[-1]), key=steps.__getitem__))
    return way


def _cell(position: Floats) -> Cell:
    return round(float(position[0])), round(float(position[1]))
