"""Recordings of two simulators, as arrays of D4RL's schema, and the faults that conversions plant in them."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cqlbench.data.embedded.collect import collect_transitions
from cqlbench.data.embedded.policy import BehaviourPolicy
from cqlbench.data.readers.d4rl import read_d4rl
from cqlbench.data.transitions import Transitions
from cqlbench.environments.spec import EnvironmentSpec

POLICIES = Path(__file__).parents[2] / "datasets" / "policies"
RECORDED = {"hopper": "Hopper-v4", "walker2d": "Walker2d-v4"}
STREAMS, ROWS = 8, 8000

Arrays = dict[str, Any]


@functools.cache
def _recording(name: str) -> Arrays:
    policy = BehaviourPolicy.load(POLICIES / f"{name}-medium-v0.npz")
    rows = collect_transitions(policy, EnvironmentSpec(RECORDED[name]), ROWS, 0, STREAMS, backend="gymnasium")
    ends = np.zeros(len(rows), np.bool_)
    ends[rows.episode_ends] = True
    return {
        "observations": rows.observations,
        "actions": rows.actions,
        "rewards": rows.rewards,
        "next_observations": rows.next_observations,
        "terminals": rows.terminated,
        "timeouts": ends & ~rows.terminated,
    }


def recording(name: str) -> Arrays:
    """8,000 rows of a behaviour policy of medium skill, a copy."""
    return {key: column.copy() for key, column in _recording(name).items()}


def read(path: Any, arrays: Arrays, following: bool = True) -> Transitions:
    """The arrays, with or without `next_observations`, through a file."""
    np.savez(
        path, **{key: column for key, column in arrays.items() if following or key != "next_observations"}
    )
    return read_d4rl(path)


def rolled(*names: str, by: int) -> Callable[[Arrays], None]:
    def plant(arrays: Arrays) -> None:
        for name in names:
            arrays[name] = np.roll(arrays[name], by, axis=0)

    return plant


def from_half(change: Callable[[Any], Any], *names: str) -> Callable[[Arrays], None]:
    def plant(arrays: Arrays) -> None:
        for name in names:
            half = len(arrays[name]) // 2
            arrays[name][half:] = change(arrays[name][half:])

    return plant


def _swapped(columns: Any) -> Any:
    return columns[:, [0, 2, 1, *range(3, columns.shape[1])]]


def _state_at_one_row(arrays: Arrays) -> None:
    arrays["observations"][3333, 2] = arrays["next_observations"][3332, 2] = 1000


def _reward_at_one_row(arrays: Arrays) -> None:
    arrays["rewards"][3333] = -10_000


STATES = ("observations", "next_observations")
FLAGS = ("terminals", "timeouts")
FAULTS: Mapping[str, tuple[str, Callable[[Arrays], None]]] = {
    "actions a row late": ("action rows", rolled("actions", by=1)),
    "actions a row early": ("action rows", rolled("actions", by=-1)),
    "rewards a row late": ("reward rows", rolled("rewards", by=1)),
    "rewards a row early": ("reward rows", rolled("rewards", by=-1)),
    "states a row late": ("action rows", rolled(*STATES, by=1)),
    "states a row early": ("action rows", rolled(*STATES, by=-1)),
    "flags a row late": ("end rows", rolled(*FLAGS, by=1)),
    "flags a row early": ("end rows", rolled(*FLAGS, by=-1)),
    "state columns reversed half-way": ("columns", from_half(lambda half: half[:, ::-1], *STATES)),
    "two state columns swapped half-way": ("columns", from_half(_swapped, *STATES)),
    "action columns reversed half-way": ("columns", from_half(lambda half: half[:, ::-1], "actions")),
    "rewards negated half-way": ("reward sign", from_half(np.negative, "rewards")),
    "no rewards": ("rewards", lambda arrays: arrays["rewards"].fill(0)),
    "a state far out": ("outliers", _state_at_one_row),
    "a reward far out": ("outliers", _reward_at_one_row),
    "actions scaled": ("action scale", lambda arrays: arrays.update(actions=arrays["actions"] / 2)),
}
"""What is planted -> the check that finds it, and how to plant it."""


def rounded(arrays: Arrays) -> None:
    """To float16, as files are made small."""
    for name in ("observations", "next_observations", "actions", "rewards"):
        arrays[name] = arrays[name].astype(np.float16).astype(np.float32)
