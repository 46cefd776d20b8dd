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

__version__ = "1"
"""Raised whenever an episode would be another one."""


def _register() -> None:
    table = tomllib.loads(Path(__file__).with_name("tasks.toml").read_text(encoding="utf-8"))
    for name, task in table["task"].items():
        kwargs: dict[str, Any] = dict(task.get("kwargs", {}))
        if "maze" in task:
            kwargs["maze"] = table["maze"][task["maze"]]
        gymnasium.register(
            name, f"{__name__}.{task['class']}", max_episode_steps=task["max_episode_steps"], kwargs=kwargs
        )


_register()
