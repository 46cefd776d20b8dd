"""What Hydra's `instantiate` makes of a `CQLTrainerConfig`."""

import dataclasses
import functools
from typing import Any

from cqlbench.config import CQLTrainerConfig
from cqlbench.training.trainer import CQLTrainer


def make_cql_trainer(**arguments: Any) -> CQLTrainer:
    """A trainer of a config's fields; arguments at their default are left to `CQLTrainer` itself.

    torchrl's own configs of collectors, losses, optimisers and target updaters make partial functions: each
    is called here with what it still lacks, as torchrl's trainers do.

    Args:
        arguments: fields of `CQLTrainerConfig`.
    """
    given = {
        field.name: arguments[field.name]
        for field in dataclasses.fields(CQLTrainerConfig)
        if field.name in arguments and not _is(arguments[field.name], field.default)
    }
    given.pop("_target_", None)
    _complete(given, "collector", *(["replay_buffer"] if given.get("async_collection") else []))
    _complete(given, "loss_module")
    loss_module = given.get("loss_module")
    if isinstance(given.get("target_net_updater"), functools.partial):
        given["target_net_updater"] = given["target_net_updater"](loss_module)
    if isinstance(given.get("optimizer"), functools.partial) and loss_module is not None:
        given["optimizer"] = given["optimizer"](params=loss_module.parameters())
    return CQLTrainer(**given)


def _is(value: Any, default: Any) -> bool:
    plain = isinstance(default, bool | int | float | str)
    return bool(value == default) if plain else value is default


def _complete(given: dict[str, Any], name: str, *others: str) -> None:
    if isinstance(given.get(name), functools.partial):
        given[name] = given[name](**{other: given[other] for other in others if other in given})
