"""What Hydra's `instantiate` makes of a `CQLTrainerConfig`."""

import dataclasses
import functools
from typing import Any

from cqlbench.core.errors import ConfigError
from cqlbench.trainer.config import CQLTrainerConfig
from cqlbench.trainer.trainer import CQLTrainer


def make_cql_trainer(**arguments: Any) -> CQLTrainer:
    """A trainer of a config's fields; arguments at their default are left to `CQLTrainer` itself.

    torchrl's own configs of collectors, networks, losses, optimisers and target updaters make partial
    functions: each is called here with what it still lacks, as torchrl's trainers do.

    Raises:
        ConfigError: a hook cannot be registered, or an argument makes no sense.
    """
    given = {
        field.name: arguments[field.name]
        for field in dataclasses.fields(CQLTrainerConfig)
        if field.name in arguments and not _is(arguments[field.name], field.default)
    }
    hooks = given.pop("hooks", ())
    for name in ("_target_", "create_env_fn"):
        given.pop(name, None)
    networks = {name: _made(given.pop(name)) for name in ("actor_network", "qvalue_network") if name in given}
    filled = {"replay_buffer"} & given.keys() if given.get("async_collection") else ()
    collector = _made(given.get("collector"), **{name: given[name] for name in filled})
    loss = _made(given.get("loss_module"), **networks)
    made = {
        "collector": collector,
        "loss_module": loss,
        "target_net_updater": _made(given.get("target_net_updater"), loss),
        "optimizer": _made(given.get("optimizer"), params=getattr(loss, "parameters", list)()),
    }
    given |= {name: part for name, part in made.items() if name in given}
    if given.get("total_frames", 0) is None:
        given["total_frames"] = getattr(collector, "total_frames", 0)
    trainer = CQLTrainer(**given)
    for hook in hooks:
        if not callable(getattr(hook, "register", None)):
            raise ConfigError(f"'hooks' has {hook!r}, which cannot be registered: it has no 'register'.")
        hook.register(trainer)
    return trainer


def _is(value: Any, default: Any) -> bool:
    plain = isinstance(default, bool | int | float | str)
    return bool(value == default) if plain else value is default


def _made(part: Any, *missing: Any, **named: Any) -> Any:
    """`part`, or what it makes of what it lacks."""
    return part(*missing, **named) if isinstance(part, functools.partial) else part
