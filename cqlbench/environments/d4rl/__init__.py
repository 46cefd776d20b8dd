"""D4RL's own tasks on today's simulators, registered with gymnasium as `cqlbench/<D4RL's name>`.

    import cqlbench.environments.d4rl
    gymnasium.make("cqlbench/maze2d-umaze-v1")

or, without the import, `gymnasium.make("cqlbench.environments.d4rl:cqlbench/maze2d-umaze-v1")`. The tasks are
those of the table `tasks.toml` beside this file. No simulator is imported before an environment is made.

Facts are from Farama-Foundation/D4RL at 89141a6; paths in this package's docstrings are below its `d4rl/`.
"""

import tomllib
from pathlib import Path
from typing import Any

import gymnasium
import msgspec

from cqlbench.environments.d4rl.correction import Correction
from cqlbench.environments.d4rl.maze import Maze

__version__ = "1"
"""Raised whenever an episode would be another one."""

_TABLE = tomllib.loads(Path(__file__).with_name("tasks.toml").read_text(encoding="utf-8"))

TASKS: dict[str, dict[str, Any]] = _TABLE["task"]
"""Registered id -> its row of the table."""


def envpool_id(name: str) -> str:
    """What envpool calls the environment that `correction(name)` makes `name`; empty if it has none.

    A `name` that is no task here is its own.
    """
    found: str = TASKS.get(name, {"envpool": name}).get("envpool", "")
    return found


def time_limit(name: str) -> dict[str, int]:
    """The constructor argument that sets the registered one, if `name` is a task here."""
    return {key: TASKS[name][key] for key in ("max_episode_steps",) if name in TASKS}


def correction(name: str) -> Correction | None:
    """What makes a simulator's steps those of `name`, if they are others."""
    found = TASKS.get(name, {}).get("correction")
    return None if found is None else msgspec.convert(found, Correction)


def maze_of(name: str) -> Maze:
    """The map of a task here.

    Raises:
        KeyError: `name` is none, or has no map.
    """
    return Maze(tuple(_TABLE["maze"][TASKS[name]["maze"]]))


def _register() -> None:
    for name, task in TASKS.items():
        kwargs: dict[str, Any] = dict(task.get("kwargs", {}))
        if "maze" in task:
            kwargs["maze"] = _TABLE["maze"][task["maze"]]
        if "correction" in task:
            kwargs["correction"] = task["correction"]
        gymnasium.register(
            name, f"{__name__}.{task['class']}", max_episode_steps=task["max_episode_steps"], kwargs=kwargs
        )


_register()
