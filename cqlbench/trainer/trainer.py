"""`CQLTrainer`: torchrl's trainer, offline too, with the fused gradient step in its optimisation seam."""

import itertools
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torchrl.checkpoint import Checkpoint, CheckpointRotation
from torchrl.data import ReplayBuffer
from torchrl.objectives.utils import TargetNetUpdater
from torchrl.record.loggers import Logger
from torchrl.trainers.trainers import ReplayBufferTrainer, Trainer, UpdateWeights

from cqlbench.core.errors import ConfigError
from cqlbench.engine.engine import Engine
from cqlbench.engine.online.collection import SeedCollection
from cqlbench.trainer.arguments import batch_size, checked_arguments, make_stepper, pass_action_spec
from cqlbench.trainer.async_collection import new_rows
from cqlbench.trainer.global_stream import GlobalStream
from cqlbench.trainer.logs import Means, Reporter, torchrl_statistics
from cqlbench.trainer.reporting_trainer import ReportingTrainer
from cqlbench.trainer.resumable import ResumableTrainer
from cqlbench.trainer.steppers import FusedStepper, Loss

_PASSED_ON = (
    "collector", "total_frames", "frame_skip", "optim_steps_per_batch", "loss_module", "optimizer", "logger",
    "clip_grad_norm", "clip_norm", "save_trainer_interval", "log_interval", "save_trainer_file", "checkpoint",
    "checkpoint_rotation", "checkpoint_metadata", "replay_buffer", "target_net_updater", "async_collection",
    "auto_log_optim_steps",
)  # fmt: skip
_PASS = sys.maxsize
"""Gradient steps per batch that end with the sampler's pass over the buffer."""


class CQLTrainer(ResumableTrainer, ReportingTrainer):
    """torchrl's `CQLTrainer`, which also trains offline, and a whole seed batch at once.

    First `offline_steps` gradient steps on the replay buffer as it is; then, with a collector, torchrl's loop
    of collecting and training until `total_frames` (per seed of a seed batch). Each outer iteration takes
    `optim_steps_per_batch` gradient steps between hooks (`register_op`); offline `batch_process`, `pre_epoch`
    and the logging hooks around them wait for collection, and `post_steps_log` gets the last batch.

    Whatever is counted "on the clock" counts gradient steps offline and, from there on, environment frames.
    `CQLTrainerConfig` describes every argument; some need more words:

    Args:
        frame_skip: a collector that fills the buffer itself counts rows, as in torchrl.
        optim_steps_per_batch: `None` is one pass per collected batch, for a sampler without replacement.
        loss_module: a `CQLLoss`, a torchrl `LossModule`, or any callable that returns `loss_*` components,
            which are all summed, except torchrl's `CQLLoss`'s `loss_actor_bc`, as in torchrl.
        logger: its step axis is the clock.
        seed: an int seeds the environments, torch's and numpy's global streams while this trainer trains, and
            a `CQLLoss`'s noise; parameters stay as they are. A sequence is a seed batch: each seed trains a
            `CQLLoss`'s algorithm in the fused step, from parameters of its own (see `engine`; the loss module
            given is left as it is), and the first seeds the global streams.
        save_trainer_interval: between saves at loop boundaries; once frames are collected, more than that
            must have passed, as in torchrl. The end is saved too.
        log_interval: losses are means over the steps between and, for a seed batch, over its seeds that have
            not diverged.
        save_trainer_file: `load_from_file` reads it. `None` does not save.
        replay_buffer: what batches are drawn from, and collected ones go to; its `batch_size`, else the
            `CQLLoss`'s. Offline it is not written to, and checkpoints do not copy it.
        enable_logging: `batch/...` of batches trained on, `collected/...` of those collected, and torchrl's
            names (`r_training`, `done_percentage`, ...); `utd_ratio` counts no offline steps.
        target_net_updater: `None` is polyak averaging at the `CQLConfig`'s rate.
        async_collection: the collector gets the policy's weights after every outer iteration.
        engine: the fused step itself, in place of `loss_module`, `replay_buffer` and `seed`. To collect it
            needs an `OnlinePhase`, and a `SeedCollector` or a torchrl collector of an environment of batch
            size `[S]` or `[S, environments per seed]`.

    Raises:
        ConfigError: arguments that contradict each other, a wrong type, or a count that makes no sense.
    """

    def __init__(
        self,
        *,
        collector: Any = None,
        total_frames: int = 0,
        offline_steps: int = 0,
        frame_skip: int = 1,
        optim_steps_per_batch: int | None = 1_000,
        online_steps_per_batch: int | None = None,
        loss_module: Loss | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        logger: Logger | None = None,
        clip_grad_norm: bool = True,
        clip_norm: float | None = None,
        progress_bar: bool = True,
        seed: int | Sequence[int] | None = None,
        save_trainer_interval: int = 10_000,
        log_interval: int = 10_000,
        save_trainer_file: str | Path | None = None,
        checkpoint: Checkpoint | None = None,
        checkpoint_rotation: CheckpointRotation | None = None,
        checkpoint_metadata: Callable[[Trainer], Mapping[str, Any]] | None = None,
        replay_buffer: ReplayBuffer | None = None,
        enable_logging: bool = True,
        log_rewards: bool = True,
        log_actions: bool = True,
        log_observations: bool = False,
        target_net_updater: TargetNetUpdater | None = None,
        async_collection: bool = False,
        log_timings: bool = False,
        auto_log_optim_steps: bool = True,
        engine: Engine | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        given = checked_arguments(given)
        if collector is not None and given["seed"] is not None:
            given["seed"] = collector.set_seed(given["seed"], static_seed=False)  # torchrl's next seed
            collector.reset()  # it has begun an episode with whatever seed it had before
        pass_action_spec(collector, loss_module)
        stepper, given["optimizer"] = make_stepper(given)
        self._engine = stepper.engine if isinstance(stepper, FusedStepper) else None
        self._collection: SeedCollection | None = None
        if self._engine is not None:
            given["seed"] = self._engine.seeds[0]
            given["loss_module"] = None  # or checkpoints would hold parameters that are never trained
            if collector is not None:
                self._collection = SeedCollection(self._engine, collector, given["total_frames"])
        self._stream = GlobalStream(given["seed"])
        self._reset_counters()
        self.offline_steps: int = given["offline_steps"]
        per_batch = given["online_steps_per_batch"] or given["optim_steps_per_batch"]
        self.online_steps_per_batch: int = per_batch or _PASS
        self._shown = progress_bar
        columns = {"rewards": log_rewards, "actions": log_actions, "observations": log_observations}
        self._reporter = Reporter(self, columns if enable_logging else None, with_times=log_timings)
        super().__init__(
            **{name: given[name] for name in _PASSED_ON}, optimization_stepper=stepper, progress_bar=False
        )
        self._register_own_hooks(loss_module)

    def _reset_counters(self) -> None:
        # torchrl keeps these on the class, where two trainers would share them.
        self._last_log: dict[str, int] = {}
        self._optim_count = self.collected_frames = self._last_save = 0
        self.train_seconds = 0.0
        self._since: float | None = None
        self._iteration_losses = Means()

    def _register_own_hooks(self, loss: Loss | None) -> None:
        if self._engine is not None:
            return
        if self.replay_buffer is not None:
            self.batch_size = batch_size(loss, self.replay_buffer)
            device = next((p.device for p in getattr(loss, "parameters", list)()), None)
            self._buffer_hook = ReplayBufferTrainer(
                self.replay_buffer, self.batch_size, device=device, flatten_tensordicts=True
            )
            self.register_op("process_optim_batch", self._buffer_hook.sample)
            self.register_op("post_loss", self._buffer_hook.update_priority)
        if self.collector is not None:
            actor = getattr(loss, "actor_network", None)
            weights = None if actor is None else partial(TensorDict.from_module, actor)
            self._update_policy = UpdateWeights(self.collector, 1, policy_weights_getter=weights)
            self.register_op("post_steps", self._update_policy)
            if self._reporter.columns is not None:
                stage = "post_optim_log" if self.async_collection else "pre_steps_log"
                self.register_op(stage, torchrl_statistics(self._reporter.columns))

    @property
    def gradient_steps(self) -> int:
        """Gradient steps taken."""
        return self._optim_count

    @property
    def clock(self) -> int:  # type: ignore[override]
        """Offline gradient steps and, from there on, environment frames: what intervals are counted in."""
        return min(self._optim_count, self.offline_steps) + self.collected_frames

    @property
    def engine(self) -> Engine:
        """The seed batch in training.

        Raises:
            ConfigError: this trainer trains a single loss module.
        """
        if self._engine is None:
            raise ConfigError("This trainer trains a single loss module; a sequence as 'seed' has an engine.")
        return self._engine

    @property
    def steps_due(self) -> int:
        """Gradient steps that the offline phase and the frames collected so far ask for, of a seed batch."""
        batches = 0 if self._collection is None else self._collection.training_batches(self.collected_frames)
        return self.offline_steps + batches * self.online_steps_per_batch

    @property
    def frames_per_batch(self) -> int:
        """Frames per collected batch, of each seed of a seed batch; 0 if nothing is collected."""
        return 0 if self._collection is None else self._collection.frames_per_batch

    def train(self) -> None:
        """Train to the end, or to the next loop boundary after `request_stop`; save there.

        Offline the next boundary is after the gradient step in hand: hooks of an outer iteration that was
        stopped half-way run when it is completed, by a trainer that resumes from the saved state.
        """
        if self._engine is None and self._optim_count < self.offline_steps and not len(self.replay_buffer):
            raise ConfigError("The replay buffer is empty: fill it before training offline.")
        if not self._stop_training:
            self._stop_reason = None  # that of an earlier call, or of the saved trainer
        try:
            with self._stream.in_place():
                self._setup_hook()
                if self._optim_count < self.offline_steps:
                    self._train_offline()
                self._finish_iteration()
                if self.collected_frames < self.total_frames and not self._stop_training:
                    self._train_online()
                self.save_trainer(force_save=True)
                self._shutdown_hook()
        finally:
            self._stop_training = False
            self.shutdown()

    def _train_offline(self) -> None:
        with self._show_progress("training", "step", self.offline_steps, self._optim_count) as progress:
            while self._optim_count < self.offline_steps and not self._stop_training:
                self.save_trainer()
                batch = self.optim_steps(None)
                if self._optim_count % self.optim_steps_per_batch and self._optim_count < self.offline_steps:
                    break  # stopped half-way
                self._post_steps_hook()
                self._post_steps_log_hook(batch)
                progress.update(self._optim_count)
        if not self._stop_training:  # whoever resumes from the saved state reports it
            self._reporter.report(None, at_once=True)

    def _finish_iteration(self) -> None:
        """The gradient steps, and what follows them, that a killed process still owed to collected frames."""
        if self._collection is None or self._stop_training:
            return
        self.engine.begin_online()
        if self.steps_due > self._optim_count:
            self.optim_steps(None)
            self._post_steps_hook()
            self._post_steps_log_hook(None)

    def _train_online(self) -> None:
        random_frames = getattr(self.collector, "init_random_frames", 0) or 0
        if self._collection is not None:
            random_frames = self._collection.random_frames
        else:
            self._update_policy()
        with self._show_progress("collecting", "frame", self.total_frames, self.collected_frames) as progress:
            for batch in self._collected():
                self._pre_steps_log_hook(batch)
                self._reporter.collected(batch)
                if self.collected_frames >= random_frames:
                    self.optim_steps(batch)
                elif batch is not None and self._engine is None:
                    self._buffer_hook.extend(batch)
                self._post_steps_hook()
                self._post_steps_log_hook(batch)
                progress.update(min(self.collected_frames, self.total_frames))
                if self._stop_training or self.collected_frames >= self.total_frames:
                    break
                self.save_trainer()
        if not self._stop_training:  # whoever resumes from the saved state reports it
            self._reporter.report(None, at_once=True)

    def _collected(self) -> Iterator[TensorDictBase | None]:
        """Collected batches, their frames counted; `None` where the collector fills the buffer itself."""
        if self._collection is not None:
            for batch in self._collection.batches(self._log_collected):
                self.collected_frames += batch.batch_size[1]
                yield batch
            return
        written = self._replay_write_count() if self.replay_buffer is not None else 0
        if self.async_collection:
            self.collector.start()
        for batch in itertools.repeat(None) if self.async_collection else self.collector:
            if batch is None:
                frames = new_rows(self, written)
                written += frames
            else:
                batch = self._process_batch_hook(batch)
                mask = batch.get(("collector", "mask"), None)
                frames = (batch.numel() if mask is None else int(mask.sum())) * self.frame_skip
            self.collected_frames += frames
            yield batch

    def _log_collected(self, name: str, value: float) -> None:
        if self.logger is not None:
            self.logger.log_scalar(name, value, step=self.clock)

    def optim_steps(self, batch: TensorDictBase | None) -> TensorDictBase | None:
        """One outer iteration: `optim_steps_per_batch` gradient steps.

        Args:
            batch: what was collected; offline, where an iteration ends early with the last step, `None`.

        Returns:
            The last batch trained on, where there is one to show.
        """
        self._since = time.perf_counter()
        try:
            return self._iterate(batch)
        finally:
            self._stop_clock()

    def _iterate(self, batch: TensorDictBase | None) -> TensorDictBase | None:
        offline, per_batch = self._optim_count < self.offline_steps, self.optim_steps_per_batch
        begun, end = 0, self._optim_count + self.online_steps_per_batch
        if offline:
            begun = self._optim_count % per_batch  # in a trainer that was stopped within it
            end = min(self._optim_count - begun + per_batch, self.offline_steps)
        elif self._engine is not None:
            end = self.steps_due
            begun = self.online_steps_per_batch - (end - self._optim_count)
        if not begun:
            self._iteration_losses = Means()
            self._pre_optim_hook()
        if not offline:
            self._pre_epoch_log_hook(batch)
            if batch is not None and self.replay_buffer is not None and self._engine is None:
                batch = self._buffer_hook.extend(batch)
            batch = self._pre_epoch_hook(batch)
        sub_batch = None
        while self._optim_count < end and not (offline and self._stop_training):
            at_most = end - self._optim_count
            if self._engine is not None and self._engine.shares_work:  # a GPU logs after whole chunks
                at_most = int(min(at_most, max(1, self._reporter.steps_left)))
            sub_batch = self._gradient_step(batch, at_most)
            if self.online_steps_per_batch == _PASS and self.replay_buffer.sampler.ran_out:
                end = self._optim_count
        if not offline:
            self._post_epoch_log_hook(batch)
        if self._optim_count == end:
            self._post_epoch_hook()
            means = TensorDict(self._iteration_losses.drain(), batch_size=[])
            self._post_optim_complete_log_hook(self._optim_count, means)
        if not offline:
            self._reporter.report(sub_batch)
        if self._engine is not None:
            self._engine.synchronize()
        return sub_batch

    def _stop_clock(self) -> None:
        self.train_seconds, self._since = self._seconds(), None

    def _seconds(self) -> float:
        return self.train_seconds + (0.0 if self._since is None else time.perf_counter() - self._since)

    def _gradient_step(self, batch: TensorDictBase | None, at_most: int) -> TensorDictBase | None:
        """One launch of the stepper; returns the batch it trained on, unless it is fused."""
        sub_batch = None if self._engine is not None else self._process_optim_batch_hook(batch)
        losses = self.optimization_stepper.step(self, sub_batch, at_most)
        self._optim_count += self.optimization_stepper.taken
        if self._engine is None:
            self._reporter.add(losses)
        if self._post_optim_complete_log_ops or self._engine is None:
            self._iteration_losses.add(losses)
        if self._optim_count <= self.offline_steps:
            self._reporter.report(sub_batch)
            self._reporter.progress.update(self._optim_count)
        self._stop_clock()  # what hooks do, for instance save, is no training
        self._post_optim_hook()  # after the report, so that a state saved in a hook resumes after it
        self._since = time.perf_counter()
        if sub_batch is not None:
            self._post_optim_log(sub_batch)
        return sub_batch

    def shutdown(self) -> None:
        """Shut the collector down, if there is one."""
        if self.collector is not None:
            super().shutdown()
