"""Whether the arguments of a `CQLTrainer` make sense together, and the step that they ask for."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
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

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Seed = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_KINDS: dict[str, Any] = {
    "total_frames": _Count,
    "offline_steps": _Count,
    "frame_skip": _Positive,
    "log_interval": _Positive,
    "save_trainer_interval": _Positive,
    "optim_steps_per_batch": _Positive | None,
    "online_steps_per_batch": _Positive | None,
    "seed": _Seed | list[_Seed] | None,
    "clip_norm": Annotated[float, msgspec.Meta(gt=0)] | None,
    "engine": Engine | None,
    "loss_module": Callable[..., Any] | None,
    "replay_buffer": ReplayBuffer | None,
    "optimizer": torch.optim.Optimizer | None,
    "target_net_updater": TargetNetUpdater | None,
    "checkpoint": Checkpoint | None,
    "checkpoint_rotation": CheckpointRotation | None,
    "checkpoint_metadata": Callable[..., Any] | None,
    "save_trainer_file": str | None,
}


def checked_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's arguments, by name, with counts and seeds as plain ints.

    Raises:
        ConfigError: the first thing that makes no sense, or `save_trainer_file` cannot be written.
    """
    given = dict(arguments)
    for name, kind in _KINDS.items():
        try:
            given[name] = msgspec.convert(_plain(given[name]), kind)
        except msgspec.ValidationError as error:
            raise ConfigError(f"'{name}' makes no sense: {error}.") from error
    for problems in (_wrong_work, _wrong_loss, _wrong_saving, _wrong_pass):
        for problem in problems(given):
            raise ConfigError(problem)
    if given["save_trainer_file"] is not None:
        check_writable(Path(given["save_trainer_file"]), folder=given["checkpoint"] is not None)
    return given


def _plain(value: Any) -> Any:
    """Numpy's numbers, paths and sequences as msgspec knows them; anything else as it is."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return [*map(_plain, value)] if isinstance(value, Sequence) and not isinstance(value, str) else value


def _wrong_work(given: Mapping[str, Any]) -> Iterator[str]:
    collector, buffer = given["collector"], given["replay_buffer"]
    if collector is None and given["total_frames"]:
        yield f"'total_frames' is {given['total_frames']}, but there is no collector: pass one."
    if collector is None and not given["offline_steps"]:
        yield "There is nothing to do: set 'offline_steps', or pass a collector."
    if collector is not None and not given["total_frames"]:
        yield "There is a collector, but 'total_frames' is 0: set it."
    if given["async_collection"] and (collector is None or buffer is None):
        yield "'async_collection' needs a collector and the replay buffer that it fills."
    immutable = isinstance(getattr(buffer, "writer", None), ImmutableDatasetWriter)
    if collector is not None and immutable and not given["async_collection"]:
        yield "The collector's rows cannot go to this replay buffer, whose dataset takes none: pass another."
    if given["logger"] is not None and not callable(getattr(given["logger"], "log_scalar", None)):
        yield "'logger' must be a torchrl logger, with 'log_scalar'."


def _wrong_loss(given: Mapping[str, Any]) -> Iterator[str]:
    engine, seed = given["engine"], given["seed"]
    own = ("loss_module", "optimizer", "replay_buffer", "target_net_updater", "seed", "clip_norm")
    if engine is not None:
        for name in own:
            if given[name] is not None:
                yield f"'{name}' and 'engine' exclude each other: the engine has its own."
        if given["collector"] is not None and given["frame_skip"] != 1:
            yield f"'frame_skip' is {given['frame_skip']}, but a seed batch counts every frame."
    elif given["loss_module"] is None:
        yield "There is nothing to train: pass a 'loss_module'."
    elif given["offline_steps"] and given["replay_buffer"] is None:
        yield "Training offline needs a 'replay_buffer' to draw from: pass one."
    if isinstance(seed, list):
        if not seed or len(set(seed)) < len(seed):
            yield f"'seed' is {seed}: list each seed once."
        for name in ("collector", "optimizer", "target_net_updater"):
            if given[name] is not None:
                yield (
                    f"A sequence of seeds trains in the fused step, without '{name}': leave that out, pass an"
                    " int as 'seed', or, to collect for each seed, an 'engine' with an OnlinePhase."
                )


def _wrong_saving(given: Mapping[str, Any]) -> Iterator[str]:
    rotation, file = given["checkpoint_rotation"], given["save_trainer_file"]
    if given["replay_buffer"] is not None and (rotation is not None or file is not None):
        refuse_prefetch(given["replay_buffer"])
    if rotation is not None and given["checkpoint"] is None:
        yield "'checkpoint_rotation' needs a 'checkpoint'."
    if rotation is not None and file is not None:
        yield "'checkpoint_rotation' and 'save_trainer_file' exclude each other: pass one of them."
    if given["checkpoint"] is not None and rotation is None and file is None:
        yield "'checkpoint' needs a place: pass 'checkpoint_rotation' or 'save_trainer_file'."
    if given["checkpoint_metadata"] is not None and rotation is None:
        yield "'checkpoint_metadata' needs a 'checkpoint_rotation'."


def _wrong_pass(given: Mapping[str, Any]) -> Iterator[str]:
    if given["optim_steps_per_batch"] is not None:
        return
    advice = "or pass a number as 'optim_steps_per_batch', which is None: one pass over the replay buffer"
    if given["offline_steps"] or given["engine"] is not None or isinstance(given["seed"], list):
        yield f"Train one seed, and only with a collector, {advice}."
    buffer = given["replay_buffer"]
    if buffer is None or type(buffer.sampler).ran_out is Sampler.ran_out or buffer._prefetch:
        yield f"Use a replay buffer with a 'SamplerWithoutReplacement' and no prefetch, {advice}."


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


def batch_size(loss: Any, buffer: ReplayBuffer) -> int:
    """B: the buffer's, else a `CQLLoss`'s.

    Raises:
        ConfigError: neither says.
    """
    of_loss = loss.config.batch_size if isinstance(loss, CQLLoss) else None
    if (size := buffer.batch_size or of_loss) is None:
        raise ConfigError("The replay buffer has no batch_size: make it with one, say batch_size=256.")
    return int(size)


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
