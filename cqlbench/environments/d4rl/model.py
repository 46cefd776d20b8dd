"""What D4RL's tasks on MuJoCo models share that are made on the spot, such as mazes' blocks."""

import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv
from numpy.typing import NDArray

Outcome = tuple[NDArray[np.float64], np.float64, bool, bool, dict[str, np.float64]]
"""What `gymnasium.Env.step` returns."""


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

    def _observation(self) -> NDArray[np.float64]:
        return np.concatenate([self.data.qpos, self.data.qvel])


def add(parent: ET.Element, tag: str, **attributes: str | float | Sequence[float]) -> ET.Element:
    """Add an element of MJCF; numbers are written to the last bit."""
    texts = {name: value if isinstance(value, str) else _text(value) for name, value in attributes.items()}
    return ET.SubElement(parent, tag, texts)


def _text(value: float | Sequence[float]) -> str:
    return " ".join(map(repr, value if isinstance(value, Sequence) else [value]))
