"""D4RL's maze2d: a ball is pushed to a goal that does not move, and stays there (pointmaze/maze_model.py)."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from cqlbench.environments.d4rl.maze import Cell, Maze
from cqlbench.environments.d4rl.model import ModelEnv, Outcome, add

REACH = 0.5
"""Up to this distance from it, the ball is at the goal."""

_BODY = 1.2
"""Where the ball's position 0 is in the world, in which a cell's middle is one more than its number. So cell
(i, j) has its middle at the position (i - 0.2, j - 0.2), while starts and goals lie around (i, j)."""

_MODEL = """
<mujoco model="point_maze">
  <compiler inertiafromgeom="true" angle="radian"/>
  <option timestep="0.01" gravity="0 0 0" iterations="20" integrator="Euler"/>
  <default>
    <joint damping="1" limited="false"/>
    <geom friction=".5 .1 .1" density="1000" margin="0.002" condim="1" contype="2" conaffinity="1"/>
  </default>
  <asset>
    <texture type="2d" name="ground" builtin="checker" width="100" height="100"
             rgb1=".2 .3 .4" rgb2=".1 .2 .3"/>
    <texture type="skybox" builtin="gradient" rgb1=".4 .6 .8" rgb2="0 0 0" width="800" height="800"/>
    <material name="ground" texture="ground" texrepeat="20 20"/>
  </asset>
  <visual><headlight ambient=".4 .4 .4" diffuse=".8 .8 .8" specular=".1 .1 .1"/></visual>
  <worldbody>
    <geom name="ground" type="plane" size="40 40 .25" pos="0 0 -.1" contype="1" conaffinity="0"
          material="ground"/>
    <body name="particle">
      <geom name="particle" type="sphere" size=".1" contype="1" rgba="0 0 1 1"/>
      <joint name="ball_x" type="slide" axis="1 0 0"/>
      <joint name="ball_y" type="slide" axis="0 1 0"/>
    </body>
  </worldbody>
  <actuator>
    <motor joint="ball_x" ctrllimited="true" ctrlrange="-1 1" gear="100"/>
    <motor joint="ball_y" ctrllimited="true" ctrlrange="-1 1" gear="100"/>
  </actuator>
</mujoco>
"""


class Maze2d(ModelEnv):
    """Observed are the ball's position and velocity, 4 numbers; the action is a force, 2 numbers in ±1.

    An episode starts around any free cell, the goal's too, nearly at rest.

    Args:
        maze: the map; its lines follow x, its characters y.
        goal: the cell of the goal; the goal lies at these positions.
        dense: the reward is exp(-distance) after the step, not 1 where the distance is at most `REACH`.
        ends: the episode ends where the distance is at most `REACH`; D4RL's never does.
        repeat: D4RL's steps in each step, all with the same action; D4RL's is 1.
        kwargs: `MujocoEnv`'s, of rendering.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 gymnasium's own attribute
        "render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"],
        "render_fps": 100,
    }

    def __init__(
        self,
        maze: Sequence[str],
        goal: Sequence[int],
        *,
        dense: bool = False,
        ends: bool = False,
        repeat: int = 1,
        **kwargs: Any,
    ) -> None:
        self.maze = Maze(tuple(maze))
        self.goal = np.array(goal, np.float64)
        self._dense, self._ends, self._repeat = dense, ends, repeat
        self._starts = np.array(self.maze.free, np.float64)
        middle = [len(self.maze.lines) / 2 + 0.5, len(self.maze.lines[0]) / 2 + 0.5, 0.0]
        view = {"distance": 2.5 * max(middle), "elevation": -90.0, "azimuth": 0.0, "lookat": np.array(middle)}
        super().__init__(
            _model(self.maze, (int(goal[0]), int(goal[1]))),
            frame_skip=1,
            observation_space=gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float64),
            **{"default_camera_config": view, **kwargs},
        )

    def step(self, action: NDArray[Any]) -> Outcome:
        """See `gymnasium.Env`."""
        for _ in range(self._repeat):
            # The ball is driven by a force, so its speed would grow without bound (maze_model.py:221-223).
            self.set_state(self.data.qpos, np.clip(self.data.qvel, -5.0, 5.0))
            self.do_simulation(np.clip(action, -1.0, 1.0), self.frame_skip)
        distance = np.linalg.norm(self.data.qpos - self.goal)
        there = bool(distance <= REACH)
        reward = np.exp(-distance) if self._dense else np.float64(there)
        if self.render_mode == "human":
            self.render()
        return self._observation(), reward, self._ends and there, False, {"success": np.float64(there)}

    def reset_model(self) -> NDArray[np.float64]:
        """See `MujocoEnv`."""
        start = self._starts[self.np_random.integers(len(self._starts))]
        position = start + self.np_random.uniform(-0.1, 0.1, 2)
        self.set_state(position, 0.1 * self.np_random.standard_normal(2))
        return self._observation()


def _model(maze: Maze, goal: Cell) -> ET.Element:
    root = ET.fromstring(_MODEL)  # noqa: S314 it is the string above
    world = next(root.iter("worldbody"))
    next(world.iter("body")).set("pos", f"{_BODY} {_BODY} 0")
    for line, character in maze.walls:
        add(
            world, "geom", type="box", rgba=".7 .5 .3 1", pos=[line + 1.0, character + 1.0, 0.0],
            size=[0.5, 0.5, 0.2],
        )  # fmt: skip
    add(world, "site", name="goal", rgba=".8 .2 .2 .4", size=0.2, pos=[goal[0] + _BODY, goal[1] + _BODY, 0.0])
    return root
