"""Small files in D4RL's published schemas, recorded by random actions in D4RL's own tasks."""

from collections.abc import Mapping
from pathlib import Path

import gymnasium
import h5py
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from cqlbench.data.cards import Card

Columns = dict[str, NDArray]

GOAL_EVERY = 40
"""Rows after which the recorder of maze2d sets another goal."""


def write(folder: Path, card: Card, rows: int) -> Path:
    """A file for `card`, where a mirror in `folder` has it."""
    columns = RECORDERS[card.family](card, rows)
    path = folder / card.file
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file.create_dataset(name, data=values, compression="gzip")
    return path


def made(card: Card):
    spec = replace(card.environment, max_episode_steps=None)
    return gymnasium.make(f"{spec.module}:{spec.id}", disable_env_checker=True).unwrapped


def stacked(rows: list[Mapping[str, object]]) -> Columns:
    kinds = {"terminals": np.bool_, "timeouts": np.bool_}
    return {name: np.array([row[name] for row in rows], kinds.get(name, np.float32)) for name in rows[0]}


def maze2d(card: Card, rows: int) -> Columns:
    """scripts/generation/generate_maze2d_datasets.py: infos before the step, a stale row after each goal."""
    env, noise = made(card), np.random.default_rng(0)
    seen, _ = env.reset(seed=0)
    table = []
    for t in range(rows):
        action, reached = noise.uniform(-1, 1, 2), t % GOAL_EVERY == GOAL_EVERY - 1
        distance = np.linalg.norm(seen[:2] - env.goal)
        table.append(
            {
                "observations": seen, "actions": action, "rewards": distance <= 0.5, "terminals": False,
                "timeouts": reached, "infos/goal": noise.uniform(1, 3, 2),
                "infos/qpos": env.data.qpos.copy(), "infos/qvel": env.data.qvel.copy(),
            }
        )  # fmt: skip
        following = env.step(action)[0]
        seen = seen if reached else following
    return stacked(table)


def antmaze(card: Card, rows: int) -> Columns:
    """generate_ant_maze_datasets.py, relabel_antmaze_rewards.py: infos after the step, labels across ends."""
    env, noise = made(card), np.random.default_rng(0)
    seen, _ = env.reset(seed=0)
    table, steps = [], 0
    for _ in range(rows):
        action = np.clip(noise.normal(0, 0.5, 8), -1, 1)
        following = env.step(action)[0]
        last = steps >= 1000
        table.append(
            {
                "observations": seen, "actions": action, "timeouts": last, "infos/goal": env.goal.copy(),
                "infos/qpos": env.data.qpos.copy(), "infos/qvel": env.data.qvel.copy(),
            }
        )  # fmt: skip
        seen, steps = (env.reset()[0], 0) if last else (following, steps + 1)
    columns = stacked(table)
    goal = columns["observations"][rows // 2, :2]  # so that it is reached, once at least
    near = np.linalg.norm(columns["observations"][1:, :2] - goal, axis=1) <= 0.5
    columns["rewards"] = columns["terminals"] = np.append(near, False).astype(np.float32)
    return columns


def kitchen(card: Card, rows: int) -> Columns:
    """generate_kitchen_datasets.py: demonstrations that end terminal, rows rewarded for their observation."""
    env, noise = made(card), np.random.default_rng(0)
    table = []
    for t in range(rows):
        if t % 100 == 0:
            seen, _ = env.reset(seed=t)
        action = noise.uniform(-1, 1, 9)
        last = t % 100 == 99 or t == rows - 1
        table.append({"observations": seen, "actions": action, "terminals": last, "timeouts": False})
        seen = env.step(action)[0]
    columns = stacked(table)
    columns["terminals"] = columns["terminals"].astype(np.float32)
    columns["rewards"] = noise.integers(0, 5, rows).astype(np.float32)
    columns["infos"] = np.arange(rows) // 100
    return columns


def adroit(card: Card, rows: int) -> Columns:
    """hand_dapg: whole episodes, with next observations in v1."""
    env, noise = made(card), np.random.default_rng(0)
    seen, _ = env.reset(seed=0)
    table, steps = [], 0
    for _ in range(rows):
        action = noise.uniform(-1, 1, env.action_space.shape)
        following, reward, terminated, _, _ = env.step(action)
        steps += 1
        last = steps == card.max_episode_steps and not terminated
        table.append(
            {
                "observations": seen, "actions": action, "rewards": reward, "terminals": terminated,
                "timeouts": last, "next_observations": following,
                "infos/qpos": env.data.qpos.copy(), "infos/qvel": env.data.qvel.copy(),
            }
        )  # fmt: skip
        seen, steps = (env.reset()[0], 0) if last or terminated else (following, steps)
    columns = stacked(table)
    if card.version == 0:
        del columns["next_observations"]
    return columns


RECORDERS = {"maze2d": maze2d, "antmaze": antmaze, "kitchen": kitchen, "adroit": adroit}
