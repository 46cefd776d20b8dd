"""D4RL's antmaze: an ant walks from a corner to a goal that it does not see.

Facts: locomotion/ant.py, goal_reaching_env.py, maze_env.py, wrappers.py and assets/ant.xml, which differs
from gymnasium's model in the time step, the motors and `solimp` only.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.mujoco import mujoco_env
from numpy.typing import NDArray

from cqlbench.environments.d4rl.maze import Maze
from cqlbench.environments.d4rl.model import ModelEnv, Outcome, add

REACH = 0.5
"""Up to this distance from it, the ant is at the goal."""

_SCALE = 4.0
"""A cell's width. The cell (1, 1), where the ant starts, has its middle at the origin."""

_TORQUE = 30.0
"""Of an action of 1."""


class AntMaze(ModelEnv):
    """Observed are 15 positions and 14 velocities, not the goal; the action is 8 torques in ±1, times 30.

    The reward is 1, and the episode ends, where the distance from the goal after a step is at most `REACH`.
    Falling over ends nothing.

    The goal lies in a cell's middle but for noise towards greater x and y, drawn from the environment's own
    generator, where D4RL takes numpy's global one.

    Args:
        maze: the map; its lines follow y, its characters x.
        goal: the cell of the goal.
        model: the file of the ant among gymnasium's models.
        one_goal: the goal is not drawn at each reset but at the first one, and at those with a seed (D4RL's
            v0 draws it when it is made, before there is a seed).
        kwargs: `MujocoEnv`'s, of rendering.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 gymnasium's own attribute
        "render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"],
        "render_fps": 10,
    }
    STATE = ("goal", "model.site_pos")

    def __init__(
        self,
        maze: Sequence[str],
        goal: Sequence[int],
        model: str,
        *,
        one_goal: bool = False,
        **kwargs: Any,
    ) -> None:
        self.maze = Maze(tuple(maze))
        self.goal = np.full(2, np.nan)
        self._middle = np.array(_middle(goal[0], goal[1]))
        self._one_goal = one_goal
        far = np.array(_middle(len(maze) - 1, len(maze[0]) - 1))
        view = {
            "distance": 1.2 * float(far.max()) + 12.0,
            "elevation": -70.0,
            "azimuth": 90.0,
            "lookat": np.array([*(far / 2 - 2.0), 0.0]),
        }
        super().__init__(
            _model(model, self.maze),
            frame_skip=5,
            observation_space=gymnasium.spaces.Box(-np.inf, np.inf, (29,), np.float64),
            **{"default_camera_config": view, **kwargs},
        )
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (self.model.nu,), np.float32)

    def step(self, action: NDArray[Any]) -> Outcome:
        """See `gymnasium.Env`."""
        self.do_simulation(_TORQUE * np.clip(action, -1.0, 1.0), self.frame_skip)
        there = bool(np.linalg.norm(self.data.qpos[:2] - self.goal) <= REACH)
        if self.render_mode == "human":
            self.render()
        return self._observation(), np.float64(there), there, False, {"success": np.float64(there)}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, float]]:
        """See `gymnasium.Env`."""
        if seed is not None:
            self.goal[:] = np.nan  # what it was depends on resets before this one
        observation, info = super().reset(seed=seed, options=options)
        return observation, info

    def reset_model(self) -> NDArray[np.float64]:
        """See `MujocoEnv`."""
        draw = self.np_random
        if not self._one_goal or np.isnan(self.goal).any():
            noise = draw.uniform(0.0, 0.25 * _SCALE, 2) + draw.uniform(0.0, 0.5, 2)
            self.goal[:] = np.maximum(self._middle + noise, 0.0)
            self.model.site("goal").pos[:2] = self.goal
        self.set_state(
            self.init_qpos + draw.uniform(-0.1, 0.1, self.model.nq), 0.1 * draw.standard_normal(self.model.nv)
        )
        return self._observation()


def _middle(line: int, character: int) -> tuple[float, float]:
    return _SCALE * (character - 1), _SCALE * (line - 1)


def _model(file: str, maze: Maze) -> ET.Element:
    root = ET.parse(Path(mujoco_env.__file__).parent / "assets" / file).getroot()  # noqa: S314 gymnasium's
    root.find("option").set("timestep", "0.02")  # type: ignore[union-attr]
    root.find("default/geom").set("solimp", ".8 .8 .01")  # type: ignore[union-attr]
    for motor in root.iter("motor"):
        motor.attrib |= {"gear": "1", "ctrlrange": f"{-_TORQUE} {_TORQUE}"}
    world = next(root.iter("worldbody"))
    half = _SCALE / 2
    for line, character in maze.walls:
        add(
            world, "geom", type="box", contype=1, conaffinity=1, rgba=".7 .5 .3 1", size=[half, half, 1.0],
            pos=[*_middle(line, character), 1.0],
        )  # fmt: skip
    add(world, "site", name="goal", rgba=".2 .8 .2 .6", size=REACH, pos=[0.0, 0.0, 0.5])
    return root
