"""Whether the arguments of a `CQLTrainer` make sense together, and the step that they ask for."""

import itertools
import operator
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torchrl.checkpoint import Checkpoint, CheckpointRotation
from torchrl.data import ImmutableDatasetWriter, ReplayBuffer
from torchrl.data.replay_buffers.samplers import Sampler
from torchrl.objectives.utils import TargetNetUpdater

from cqlbench.core.errors import ConfigError
from cqlbench.engine.engine import Engine
from cqlbench.trainer.cql_loss import CQLLoss
from cqlbench.trainer.matching import refuse_mismatch
from cqlbench.trainer.resumable import refuse_prefetch
from cqlbench.trainer.state_files import check_writable
from cqlbench.trainer.steppers import (
    FusedStepper,
    LossStepper,
    default_optimizer,
    default_target_updater,
    seed_batch,
)

_POSITIVE = ("frame_skip", "log_interval", "save_trainer_interval")
_COUNTS = (*_POSITIVE, "offline_steps", "total_frames")
_OPTIONAL = ("optim_steps_per_batch", "online_steps_per_batch")
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "engine": ((Engine,), "an 'Engine'"),
    "replay_buffer": ((ReplayBuffer,), "a torchrl 'ReplayBuffer'"),
    "optimizer": ((torch.optim.Optimizer,), "a 'torch.optim.Optimizer'"),
    "target_net_updater": ((TargetNetUpdater,), "a torchrl 'SoftUpdate' or 'HardUpdate'"),
    "checkpoint": ((Checkpoint,), "a torchrl 'Checkpoint'"),
    "checkpoint_rotation": ((CheckpointRotation,), "a torchrl 'CheckpointRotation'"),
    "save_trainer_file": ((str, os.PathLike), "a path"),
}


def checked_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's arguments, by name, with counts and seeds as plain ints.

    Raises:
        ConfigError: the first thing that makes no sense, or `save_trainer_file` cannot be written.
    """
    given = dict(arguments) | {name: _plain(arguments[name]) for name in (*_COUNTS, *_OPTIONAL, "seed")}
    if isinstance(given["seed"], Sequence) and not isinstance(given["seed"], str):
        given["seed"] = [_plain(seed) for seed in given["seed"]]
    for name in (*_COUNTS, *(name for name in _OPTIONAL if given[name] is not None)):
        value, least = given[name], int(name not in ("offline_steps", "total_frames"))
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigError(f"'{name}' is {value!r}, but must be a whole number of at least {least}.")
    checks = (_wrong_work, _wrong_loss, _wrong_saving, _wrong_kind, _wrong_pass)
    for wrong, sentence in itertools.chain.from_iterable(check(given) for check in checks):
        if wrong:
            raise ConfigError(sentence)
    if given["save_trainer_file"] is not None:
        check_writable(Path(given["save_trainer_file"]), folder=given["checkpoint"] is not None)
    return given


def _plain(value: Any) -> Any:
    """A whole number of any kind, numpy's for instance, as an int; anything else as it is."""
    try:
        return value if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return value


def _wrong_kind(given: Mapping[str, Any]) -> list[tuple[bool, str]]:
    wrong = [
        (name, what)
        for name, (kinds, what) in _KINDS.items()
        if given[name] is not None and not isinstance(given[name], kinds)
    ]
    if given["logger"] is not None and not callable(getattr(given["logger"], "log_scalar", None)):
        wrong.append(("logger", "a torchrl logger, with 'log_scalar'"))
    return [(True, f"'{name}' is {given[name]!r}, but must be {what}.") for name, what in wrong]


def _wrong_work(given: Mapping[str, Any]) -> list[tuple[bool, str]]:
    collector, frames, steps = given["collector"], given["total_frames"], given["offline_steps"]
    buffer = given["replay_buffer"]
    immutable = buffer is not None and isinstance(getattr(buffer, "writer", None), ImmutableDatasetWriter)
    return [
        (
            collector is None and frames > 0,
            f"'total_frames' is {frames}, but there is no collector: pass one, or set 'offline_steps'.",
        ),
        (
            collector is None and steps == 0,
            "'offline_steps' is 0 and there is no collector, so there is nothing to do: set offline_steps.",
        ),
        (collector is not None and frames == 0, "There is a collector, but 'total_frames' is 0: set it."),
        (
            collector is not None and immutable and not given["async_collection"],
            "The collector's rows cannot go to this replay buffer, whose dataset takes none: pass another.",
        ),
        (
            given["async_collection"] and (collector is None or buffer is None),
            "'async_collection' needs a collector and the replay buffer that it fills.",
        ),
    ]


def _wrong_pass(given: Mapping[str, Any]) -> list[tuple[bool, str]]:
    if given["optim_steps_per_batch"] is not None:
        return []
    advice = "or pass a number as 'optim_steps_per_batch', which is None: one pass over the replay buffer"
    fused = given["engine"] is not None or isinstance(given["seed"], Sequence)
    buffer = given["replay_buffer"]
    endless = buffer is None or type(buffer.sampler).ran_out is Sampler.ran_out or buffer._prefetch
    return [
        (given["offline_steps"] > 0 or fused, f"Train one seed, and only with a collector, {advice}."),
        (endless, f"Use a replay buffer with a 'SamplerWithoutReplacement' and no prefetch, {advice}."),
    ]


def _wrong_loss(given: Mapping[str, Any]) -> list[tuple[bool, str]]:
    engine, loss, seed = given["engine"], given["loss_module"], given["seed"]
    own = (
        "loss_module",
        "optimizer",
        "replay_buffer",
        "target_net_updater",
        "seed",
        "clip_norm",
    )
    doubled = [name for name in own if engine is not None and given[name] is not None]
    several = isinstance(seed, Sequence) and not isinstance(seed, str)
    numbers = list(seed) if several else [seed]
    only_one = [name for name in ("collector", "optimizer", "target_net_updater") if given[name] is not None]
    return [
        (
            bool(doubled),
            f"'{'·'.join(doubled[:1])}' and 'engine' exclude each other: the engine has its own.",
        ),
        (engine is None and loss is None, "There is nothing to train: pass a 'loss_module'."),
        (loss is not None and not callable(loss), "'loss_module' must be callable: batch -> losses."),
        (
            engine is None and given["offline_steps"] > 0 and given["replay_buffer"] is None,
            "Training offline needs a 'replay_buffer' to draw from: pass one.",
        ),
        (
            any(isinstance(s, bool) or not isinstance(s, int | None) for s in numbers),
            f"'seed' is {seed!r}, but must be a whole number or a sequence of them.",
        ),
        (
            any(isinstance(s, int) and not 0 <= s < 2**63 for s in numbers),
            f"'seed' is {seed!r}, but seeds lie between 0 and 2**63 - 1.",
        ),
        (
            several and not (seed and all(seed.count(s) == 1 for s in seed)),
            f"'seed' is {seed}: list each seed once.",
        ),
        (
            several and bool(only_one),
            f"A sequence of seeds trains in the fused step, without '{'·'.join(only_one[:1])}': leave that"
            " out, pass an int as 'seed', or, to collect for each seed, an 'engine' with an OnlinePhase.",
        ),
        (
            given["clip_norm"] is not None and not _positive(given["clip_norm"]),
            f"'clip_norm' is {given['clip_norm']!r}, but must be positive, or None to clip nothing.",
        ),
    ]


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _wrong_saving(given: Mapping[str, Any]) -> list[tuple[bool, str]]:
    rotation, file, metadata = (
        given[name] for name in ("checkpoint_rotation", "save_trainer_file", "checkpoint_metadata")
    )
    if given["replay_buffer"] is not None and (rotation is not None or file is not None):
        refuse_prefetch(given["replay_buffer"])
    return [
        (rotation is not None and given["checkpoint"] is None, "'checkpoint_rotation' needs a 'checkpoint'."),
        (
            rotation is not None and file is not None,
            "'checkpoint_rotation' and 'save_trainer_file' exclude each other: pass one of them.",
        ),
        (
            given["checkpoint"] is not None and rotation is None and file is None,
            "'checkpoint' needs a place: pass 'checkpoint_rotation' or 'save_trainer_file'.",
        ),
        (metadata is not None and rotation is None, "'checkpoint_metadata' needs a 'checkpoint_rotation'."),
        (metadata is not None and not callable(metadata), "'checkpoint_metadata' must be callable."),
    ]


def make_stepper(given: Mapping[str, Any]) -> tuple[FusedStepper | LossStepper, torch.optim.Optimizer | None]:
    """The gradient step that checked arguments ask for, and its optimiser unless it is fused.

    Raises:
        ConfigError: see `seed_batch` and `default_optimizer`.
    """
    refuse_mismatch(given["collector"], given["engine"], given["replay_buffer"])
    loss, by_norm, bound = given["loss_module"], given["clip_grad_norm"], given["clip_norm"]
    if given["engine"] is not None:
        return FusedStepper(given["engine"]), None
    if isinstance(given["seed"], Sequence):
        return FusedStepper(seed_batch(loss, given["replay_buffer"], given["seed"], by_norm, bound)), None
    if isinstance(loss, CQLLoss) and given["seed"] is not None:
        loss.set_seed(given["seed"])
    optimizer = given["optimizer"] or default_optimizer(loss)
    updater = given["target_net_updater"] or default_target_updater(loss)
    return LossStepper(loss, optimizer, updater, by_norm, bound), optimizer


def batch_size(loss: Any, buffer: Any) -> int | None:
    """B: the buffer's, else a `CQLLoss`'s; `None` without a buffer.

    Raises:
        ConfigError: neither says.
    """
    if buffer is None:
        return None
    found = getattr(buffer, "batch_size", None) or (
        loss.config.batch_size if isinstance(loss, CQLLoss) else None
    )
    if found is None:
        raise ConfigError("The replay buffer has no batch_size: make it with one, say batch_size=256.")
    return int(found)


def pass_action_spec(collector: Any, loss: Any) -> None:
    """Tell a torchrl loss that finds its target entropy by itself what the environment's actions are."""
    if collector is None or getattr(loss, "_action_spec", 0) is not None:
        return
    if getattr(loss, "_target_entropy", None) == "auto":
        spec: Any = getattr(loss.actor_network, "spec", None)
        if hasattr(spec, "get"):
            spec = spec.get(loss.tensor_keys.action)
        if spec is None:
            loss._action_spec = collector.getattr_env("full_action_spec_unbatched").cpu()
