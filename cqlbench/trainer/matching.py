"""Does a torchrl collector give what the dataset has? Asked before anything is collected."""

from typing import Any

import torch
from torch import Tensor
from torchrl.data import ReplayBuffer, TensorStorage

from cqlbench.algorithms.networks import ActionBox
from cqlbench.core.errors import ConfigError
from cqlbench.engine.engine import Engine
from cqlbench.engine.online.collector import SeedCollector

_ROWS = 10_000
"""Enough actions to see another box."""
_SLACK = 1e-4
_ADVICE = "collect in the environment that the data come from, with the same transforms"


def refuse_mismatch(collector: Any, engine: Engine | None, buffer: Any) -> None:
    """Compare the collector's environment with the dataset that training mixes its rows with.

    Observations and actions are compared by name, shape and dtype, and actions by their box. Nothing is
    compared where there are no data, or the collector does not show its environment's specs. A
    `SeedCollector` has compared by itself.

    Raises:
        ConfigError: the first thing that differs.
    """
    if collector is None or isinstance(collector, SeedCollector):
        return
    rows = _rows_of(engine, buffer)
    if not rows:
        return
    try:
        specs = {
            "observation": collector.getattr_env("observation_spec_unbatched"),
            "action": collector.getattr_env("full_action_spec_unbatched"),
        }
    except (AttributeError, RuntimeError, NotImplementedError):
        return
    for name, column in rows.items():
        spec = specs[name].get(name, None)
        if spec is None:
            there = ", ".join(map(str, specs[name].keys(include_nested=True, leaves_only=True)))
            raise ConfigError(
                f"The data have a column '{name}', and the collector's environment has {there or 'none'}:"
                f" {_ADVICE}."
            )
        if tuple(spec.shape) != tuple(column.shape[1:]) or spec.dtype != column.dtype:
            raise ConfigError(
                f"The collector's '{name}' is {_kind(spec.shape, spec.dtype)}, and the data's is"
                f" {_kind(column.shape[1:], column.dtype)}: {_ADVICE}."
            )
    _refuse_box(specs["action"].get("action"), rows["action"], engine)


def _rows_of(engine: Engine | None, buffer: Any) -> dict[str, Tensor]:
    """Some of the dataset's rows; empty where there are none to compare with."""
    if engine is not None:
        dataset = engine.dataset
        return {} if dataset is None else {"observation": dataset.observations, "action": dataset.actions}
    if (
        not isinstance(buffer, ReplayBuffer)
        or not isinstance(buffer.storage, TensorStorage)
        or not len(buffer)
    ):
        return {}
    rows = buffer.storage[: min(len(buffer), _ROWS)]
    found = {name: rows.get(name, None) for name in ("observation", "action")}
    return {name: column for name, column in found.items() if isinstance(column, Tensor)}


def _refuse_box(spec: Any, actions: Tensor, engine: Engine | None) -> None:
    low, high = (getattr(getattr(spec, "space", None), end, None) for end in ("low", "high"))
    if low is None or high is None:
        return
    low, high = low.cpu(), high.cpu()
    if engine is not None and isinstance(engine.actions, ActionBox):
        theirs = engine.actions.low.cpu(), engine.actions.high.cpu()
        same = torch.allclose(low, theirs[0]) and torch.allclose(high, theirs[1])
    else:
        some = actions[:_ROWS].cpu()
        theirs = some.amin(0), some.amax(0)
        same = bool(((theirs[0] >= low - _SLACK) & (theirs[1] <= high + _SLACK)).all())
    if not same:
        raise ConfigError(
            f"The collector's actions are between {low.tolist()} and {high.tolist()}, and the data's between"
            f" {_rounded(theirs[0])} and {_rounded(theirs[1])}: {_ADVICE}."
        )


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 3) for value in values.tolist()]


def _kind(shape: Any, dtype: torch.dtype) -> str:
    return f"{list(shape)} {str(dtype).removeprefix('torch.')}"
