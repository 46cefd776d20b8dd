"""D4RL's kitchen: a robot's arm is to leave four of a kitchen's objects as asked for.

Facts: kitchen/kitchen_envs.py and kitchen/adept_envs/franka. The model is gymnasium-robotics', which is
D4RL's but for the robot's pedestal. Its environment is not: it observes other numbers, with other noise, and
judges by what is not observed. (Nor can it be made with MuJoCo 4: it takes members of an enum for integers.)
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv
from numpy.typing import NDArray

from cqlbench.environments.d4rl.model import Outcome

_MODEL = "envs/assets/kitchen_franka/kitchen_assets/kitchen_env_model.xml"

_ROBOT = 9
"""Joint positions of the robot, before the 21 of the objects."""

_START = np.array(
    [
        1.48388023e-01, -1.76848573e00, 1.84390296e00, -2.47685760e00, 2.60252026e-01, 7.12533105e-01,
        1.59515394e00, 4.79267505e-02, 3.71350919e-02, -2.66279850e-04, -5.18043486e-05, 3.12877220e-05,
        -4.51199853e-05, -3.90842156e-06, -4.22629655e-05, 6.28065475e-05, 4.04984708e-05, 4.62730939e-04,
        -2.26906415e-04, -4.65501369e-04, -6.44129196e-03, -1.77048263e-03, 1.08009684e-03, -2.69397440e-01,
        3.50383255e-01, 1.61944683e00, 1.00618764e00, 4.06395120e-03, -6.62095997e-03, -2.68278933e-04,
    ]
)  # fmt: skip
"""kitchen_multitask_v0.py:62-70"""

_LOWEST = np.array([-2.9, -1.8, -2.9, -3.1, -2.9, 0.0, -2.9, 0.0, 0.0])
_HIGHEST = np.array([2.9, 1.8, 2.9, 0.0, 2.9, 3.8, 2.9, 0.04, 0.04])
"""What positions the robot may be sent to (franka_config.xml)."""

_NOISE = 0.1 * np.array(
    [0.1] * 9 + [0.005] * 2 + [0.0005] * 6 + [0.005] * 3 + [0.1] * 3 + [0.005] * 3 + [0.1] * 3 + [0.005]
)
"""By how much a position may be observed to be wrong (franka_config.xml, kitchen_multitask_v0.py:43)."""

_REACH = 0.3
"""An object nearer than this to where it is to be is there."""

_GOALS: dict[str, tuple[int, tuple[float, ...]]] = {
    "bottom burner": (11, (-0.88, -0.01)),
    "top burner": (15, (-0.92, -0.01)),
    "light switch": (17, (-0.69, -0.05)),
    "slide cabinet": (19, (0.37,)),
    "hinge cabinet": (20, (0.0, 1.45)),
    "microwave": (22, (-0.75,)),
    "kettle": (23, (-0.23, 0.75, 1.62, 0.99, 0.0, 0.0, -0.06)),
}
"""Object -> the first of its positions, and where they are to be (kitchen_envs.py:9-26)."""


class Kitchen(MujocoEnv):
    """Observed are 9 positions of the robot and 21 of objects, with noise, and the 30 that they are to have.

    The action is 9 velocities of the robot's joints in ±1, times 2, from the positions last observed. The
    reward is the number of tasks that are observed to be done for the first time; the episode ends when all
    are.

    Args:
        tasks: the objects that are to be moved, from `_GOALS`.
        kwargs: `MujocoEnv`'s, of rendering.

    Raises:
        ImportError: gymnasium-robotics, whose model it is, is not installed.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 gymnasium's own attribute
        "render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"],
        "render_fps": 12,
    }
    STATE = ("observed", "done")
    """See `ModelEnv`."""

    def __init__(self, tasks: Sequence[str], **kwargs: Any) -> None:
        found = importlib.util.find_spec("gymnasium_robotics")  # not imported: it registers and prints
        if found is None or found.origin is None:
            raise ImportError("No module named 'gymnasium_robotics'")
        view = {"distance": 2.2, "azimuth": 70.0, "elevation": -35.0, "lookat": np.array([-0.2, 0.5, 2.0])}
        super().__init__(
            str(Path(found.origin).parent / _MODEL),
            frame_skip=40,
            observation_space=gymnasium.spaces.Box(-np.inf, np.inf, (60,), np.float64),
            **{"default_camera_config": view, **kwargs},
        )
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (_ROBOT,), np.float32)
        pedestal = self.model.geom_type == mujoco.mjtGeom.mjGEOM_CYLINDER.value
        pedestal &= (self.model.geom_size[:, :2] == (0.12, 0.9)).all(axis=1)
        self.model.geom_contype[pedestal] = self.model.geom_conaffinity[pedestal] = 0
        self._tasks = [_GOALS[task] for task in tasks]
        self.goal = np.zeros(30)
        for first, values in self._tasks:
            self.goal[first : first + len(values)] = values
        self.observed = _START.copy()
        self.done = np.zeros(len(self._tasks), np.bool_)

    def step(self, action: NDArray[Any]) -> Outcome:
        """See `gymnasium.Env`."""
        # Where the robot is sent depends on the last observation's noise (franka_robot.py:255-263).
        aim = self.observed[:_ROBOT] + 2.0 * np.clip(action, -1.0, 1.0) * self.dt
        self.do_simulation(np.clip(aim, _LOWEST, _HIGHEST), self.frame_skip)
        observation = self._observe()
        gaps = self.observed - self.goal
        far = [np.linalg.norm(gaps[first : first + len(values)]) for first, values in self._tasks]
        there = np.array(far) < _REACH
        reward = np.float64((there & ~self.done).sum())
        self.done |= there
        if self.render_mode == "human":
            self.render()
        return observation, reward, bool(self.done.all()), False, {"success": np.float64(self.done.all())}

    def reset_model(self) -> NDArray[np.float64]:
        """See `MujocoEnv`."""
        self.done[:] = False
        self.set_state(_START, np.zeros(self.model.nv))
        return self._observe()

    def _observe(self) -> NDArray[np.float64]:
        self.observed = self.data.qpos + _NOISE * self.np_random.uniform(-1.0, 1.0, 30)
        return np.concatenate([self.observed, self.goal])
