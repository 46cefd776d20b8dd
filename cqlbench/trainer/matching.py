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
    specs = {"observation": "observation_spec_unbatched", "action": "full_action_spec_unbatched"}
    for name, column in _rows_of(engine, buffer).items():
        try:
            found = collector.getattr_env(specs[name])
        except (AttributeError, RuntimeError, NotImplementedError):
            return
        if (spec := found.get(name, None)) is None:
            there = ", ".join(map(str, found.keys(include_nested=True, leaves_only=True)))
            raise ConfigError(
                f"The data have a column '{name}', and the collector's environment has {there or 'none'}:"
                f" {_ADVICE}."
            )
        own, other = ((list(each.shape), each.dtype) for each in (column[0], spec))
        if own != other:
            raise ConfigError(f"The collector's '{name}' is {other}, and the data's is {own}: {_ADVICE}.")
        if name == "action":
            _refuse_box(spec, column[:_ROWS].cpu(), engine)


def _rows_of(engine: Engine | None, buffer: Any) -> dict[str, Tensor]:
    """Some of the dataset's rows; empty where there are none to compare with."""
    if engine is not None:
        dataset = engine.dataset
        return {} if dataset is None else {"observation": dataset.observations, "action": dataset.actions}
    if not (isinstance(buffer, ReplayBuffer) and isinstance(buffer.storage, TensorStorage) and len(buffer)):
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
        least, most = engine.actions.low.cpu(), engine.actions.high.cpu()
        same = torch.allclose(low, least) and torch.allclose(high, most)
    else:
        least, most = actions.amin(0), actions.amax(0)
        same = bool(((least >= low - _SLACK) & (most <= high + _SLACK)).all())
    if not same:
        raise ConfigError(
            f"The collector's actions are between {low.tolist()} and {high.tolist()}, and the data's between"
            f" {least.tolist()} and {most.tolist()}: {_ADVICE}."
        )
