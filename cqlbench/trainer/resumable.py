"""A torchrl trainer that loses nothing when it is saved: what its future depends on, and where it is put."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import torch
from torchrl.checkpoint import Checkpoint, CheckpointError
from torchrl.data import ReplayBuffer
from torchrl.trainers import Trainer, UpdateWeights

from cqlbench.core.errors import ConfigError
from cqlbench.engine.engine import Engine
from cqlbench.trainer.global_stream import GlobalStream
from cqlbench.trainer.logs import Means, Reporter
from cqlbench.trainer.state_files import read_state, refuse_strangers, write_state

_COUNTERS = ("collected_frames", "_optim_count", "_last_save", "train_seconds", "_stop_reason")


class ResumableTrainer(Trainer):  # type: ignore[misc]  # torchrl has no types
    """torchrl's trainer with exact states, written whole.

    Attributes:
        clock: what save intervals are counted in.
        started_after: gradient steps that another trainer has taken.
    """

    _engine: Engine | None
    _stream: GlobalStream
    _update_policy: UpdateWeights
    _seconds: Callable[[], float]
    _reporter: Reporter
    _iteration_losses: Means
    _last_save: int
    _stop_training: bool
    clock: int
    started_after: int = 0

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on, sharing memory with the trainer.

        An environment's own state is not in it: collection resumes with new episodes.

        Raises:
            ConfigError: the replay buffer draws ahead, so what comes next is not in its state.
        """
        return {
            "state": self._get_state(),
            **{name: part.state_dict() for name, part in self._parts().items()},
            "modules": {name: module.state_dict() for name, module in self._modules.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from `state`, what `state_dict` gave for a trainer made of the same parts.

        Raises:
            ConfigError: it is of other parts.
        """
        parts = self._parts()
        saved = {*state, *state["modules"]} - {"state", "modules"}
        if differ := sorted({*parts, *self._modules} ^ saved):
            raise ConfigError(
                f"The saved trainer is made of other parts than this one: they differ in {', '.join(differ)}."
            )
        try:
            for name, part in parts.items():
                # A copy, since optimisers keep the tensors that they are given.
                part.load_state_dict(copy.deepcopy(state[name]))
            for name, module in self._modules.items():
                module.load_state_dict(state["modules"][name])
            self._set_state(state["state"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise ConfigError(f"The saved trainer does not fit this one: {reason}.") from error
        if self.collector is not None and self._engine is None:
            self._update_policy()

    def _parts(self) -> dict[str, Any]:
        """The trainer's parts that have a state, by name."""
        parts = {
            "engine": self._engine,
            "loss_module": self.loss_module,
            "optimizer": self.optimizer,
            "target_net_updater": self.target_net_updater,
            "collector": self.collector,
            "replay_buffer": self._buffer_state(),
        }
        return {name: part for name, part in parts.items() if hasattr(part, "state_dict")}

    def _buffer_state(self) -> "BufferState | None":
        if self.replay_buffer is None or self._engine is not None:
            return None
        return BufferState(self.replay_buffer, with_rows=self.collector is not None)

    def start_after(self, steps: int) -> None:
        """Count `steps` gradient steps that another trainer has taken."""
        self._optim_count = self.started_after = steps

    def save_trainer(self, force_save: bool = False) -> None:
        """Save if `save_trainer_interval` has passed on the clock since the last time, or if told to.

        Once frames are collected, more than the interval must have passed, as in torchrl.

        Raises:
            ConfigError: it cannot be written, or something else is there; what was there is left as it was.
        """
        due = self.clock - self._last_save >= self.save_trainer_interval + bool(self.collected_frames)
        if self._has_checkpoint_destination() and (due or force_save):
            self._last_save = self.clock
            self._save_trainer()

    def _save_trainer(self) -> None:
        if self.checkpoint is None:
            write_state(Path(self.save_trainer_file), self.state_dict())
            return
        components = self._sync_checkpoint_components()
        try:
            if self.checkpoint_rotation is None:
                refuse_strangers(Path(self.save_trainer_file))
                components.save(self.save_trainer_file)
            else:
                metadata = self._checkpoint_manifest_metadata()
                self.checkpoint_rotation.save(components, step=self.clock, metadata=metadata)
        except OSError as error:
            raise ConfigError(f"The trainer cannot be saved: {error}.") from error

    def load_from_file(self, file: str | Path, **kwargs: Any) -> Self:
        """Resume from what was saved at `file`, a torchrl `Checkpoint` or not.

        Args:
            file: a file or a folder.
            kwargs: for `torch.load`, with `weights_only=True` unless given; for a `Checkpoint` also `strict`.

        Raises:
            ConfigError: there is nothing of the kind, or it is of another trainer.
        """
        if not Checkpoint.is_checkpoint(file):
            self.load_state_dict(read_state(Path(file), **kwargs))
            return self
        components = self._sync_checkpoint_components(self.checkpoint or Checkpoint())
        location, strict = kwargs.pop("map_location", "cpu"), kwargs.pop("strict", None)
        try:
            components.load(file, map_location=location, strict=strict, tensor_load_kwargs=kwargs)
        except CheckpointError as error:
            raise ConfigError(f"{file} does not fit this trainer: {error}") from error
        if self.collector is not None and self._engine is None:
            self._update_policy()
        return self

    def _sync_checkpoint_components(self, checkpoint: Checkpoint | None = None) -> Checkpoint:
        checkpoint = checkpoint or self.checkpoint or Checkpoint()
        self._checkpoint_state = SimpleNamespace(
            state_dict=self._get_state, load_state_dict=self._set_state
        )  # torchrl's component `trainer_state`, with all that ours needs
        for name, part in (("engine", self._engine), ("replay_buffer", self._buffer_state())):
            if part is not None and name not in checkpoint:
                checkpoint.register(name, part)
        return super()._sync_checkpoint_components(checkpoint)

    def _get_state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _COUNTERS} | {
            "_last_log": dict(self._last_log),
            "_reporter": self._reporter.state_dict(),
            "_iteration_losses": self._iteration_losses.state_dict(),
            "_stream": self._stream.state_dict(),
            "train_seconds": self._seconds(),
        }

    def _set_state(self, state: Mapping[str, Any]) -> None:
        for name in _COUNTERS:
            setattr(self, name, state[name])
        self._last_log = dict(state["_last_log"])
        self._reporter.load_state_dict(state["_reporter"])
        self._iteration_losses.load_state_dict(state["_iteration_losses"])
        self._stream.load_state_dict(state["_stream"])


class BufferState:
    """A replay buffer's state: where its sampler stands, and its rows only if asked for."""

    def __init__(self, buffer: ReplayBuffer, *, with_rows: bool) -> None:
        self._buffer = buffer
        self._with_rows = with_rows

    def state_dict(self) -> dict[str, Any]:
        """The sampler, its generator, and whatever is asked for."""
        refuse_prefetch(self._buffer)
        if self._with_rows:
            return {"rows": len(self._buffer), "whole": self._buffer.state_dict()}
        generator = self._buffer._rng
        return {
            "rows": len(self._buffer),
            "sampler": self._buffer.sampler.state_dict(),
            "generator": None if generator is None else generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from `state`."""
        if "whole" in state:
            self._buffer.load_state_dict(state["whole"])
            return
        if state["rows"] != len(self._buffer):
            raise ValueError(f"its replay buffer had {state['rows']} rows, and this one {len(self._buffer)}")
        self._buffer.sampler.load_state_dict(state["sampler"])
        if state["generator"] is not None:
            if self._buffer._rng is None:
                self._buffer.set_rng(torch.Generator())
            self._buffer._rng.set_state(state["generator"].cpu())


def refuse_prefetch(buffer: ReplayBuffer) -> None:
    """Raise a `ConfigError` for a buffer that draws batches ahead of time."""
    if getattr(buffer, "_prefetch", False):
        raise ConfigError(
            "The replay buffer prefetches batches, so a saved trainer could not resume exactly where it was:"
            " make the buffer without 'prefetch', or do not save."
        )
