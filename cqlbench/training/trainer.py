"""`CQLTrainer`: torchrl's trainer, offline, with the fused gradient step in its optimisation seam."""

import time
from collections.abc import Mapping
from typing import Any

from tensordict import TensorDict, TensorDictBase
from torchrl.record.loggers import Logger
from torchrl.trainers.trainers import OptimizationStepper, Trainer

from cqlbench.errors import ConfigError
from cqlbench.progress import Progress
from cqlbench.training.engine import Engine


class FusedStepper(OptimizationStepper):  # type: ignore[misc]  # torchrl has no types
    """Gradient steps of every seed: losses, Adam and target update in one function.

    Attributes:
        taken: how many the last call took: one, or a whole chunk where they are one CUDA graph.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.taken = 0

    def step(
        self, trainer: "CQLTrainer", sub_batch: TensorDictBase | None = None, at_most: int = 1
    ) -> TensorDict:
        """Take the trainer's next gradient steps, `at_most` so many; the engine draws the batches itself.

        Returns:
            The last step's diagnostics, detached, one `[S]` tensor each.
        """
        del sub_batch  # torchrl's signature
        self.taken = self.engine.advance(trainer.gradient_steps, at_most)
        return TensorDict(self.engine.latest_diagnostics(), batch_size=[len(self.engine.seeds)])


class CQLTrainer(Trainer):  # type: ignore[misc]
    """Trains a seed batch offline: no collector, no environment, gradient steps on a fixed dataset.

    The loop is torchrl's, with gradient steps for frames: an outer iteration takes `optim_steps_per_batch`
    gradient steps and then runs the hooks (`post_steps`, `post_steps_log`), registered with `register_op`.

    Args:
        engine: the dataset, the algorithm and the seeds.
        offline_steps: gradient steps in all.
        optim_steps_per_batch: gradient steps between hooks.
        logger: any torchrl logger; its step axis is gradient steps. Values are means over seeds.
        log_interval: gradient steps between logged values.
        progress_bar: a bar with rate and time left on a terminal, plain lines elsewhere.

    Raises:
        ConfigError: a step count that is not positive.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        offline_steps: int,
        optim_steps_per_batch: int = 1_000,
        logger: Logger | None = None,
        log_interval: int = 1_000,
        progress_bar: bool = True,
    ) -> None:
        for name, value in (
            ("offline_steps", offline_steps),
            ("optim_steps_per_batch", optim_steps_per_batch),
            ("log_interval", log_interval),
        ):
            if value < 1:
                raise ConfigError(f"'{name}' is {value}, but at least one gradient step is needed.")
        # torchrl keeps these on the class, where two trainers would share them.
        self._last_log: dict[str, int] = {}
        self._optim_count = self._last_save = self.collected_frames = 0
        self.engine = engine
        self.offline_steps = offline_steps
        self.train_seconds = 0.0
        self._since: float | None = None
        super().__init__(
            collector=None,
            total_frames=0,
            frame_skip=1,
            optim_steps_per_batch=optim_steps_per_batch,
            loss_module=None,  # the fused step computes its losses itself
            optimization_stepper=FusedStepper(engine),
            logger=logger,
            log_interval=log_interval,
            progress_bar=False,
            seed=None,
        )
        self._progress_bar = progress_bar
        self._progress = self._new_progress()

    @property
    def gradient_steps(self) -> int:
        """Gradient steps taken."""
        return self._optim_count

    def train(self) -> None:
        """Take the remaining gradient steps, or stop at the next loop boundary after `request_stop`."""
        self._setup_hook()
        with self._progress:
            while self.gradient_steps < self.offline_steps and not self._stop_training:
                self._since = time.perf_counter()
                self.optim_steps(None)
                self.train_seconds, self._since = self._seconds(), None
                self._post_steps_hook()
                self._post_steps_log_hook(None)
                self._progress.update(self.gradient_steps)
        self._shutdown_hook()

    def optim_steps(self, batch: TensorDictBase | None) -> None:
        """One outer iteration: `optim_steps_per_batch` gradient steps, fewer before the last."""
        del batch  # there is no collector
        self._pre_optim_hook()
        # To the next multiple: after a resume in between, the hooks run at the same steps as ever.
        iteration = self.gradient_steps // self.optim_steps_per_batch + 1
        end = min(iteration * self.optim_steps_per_batch, self.offline_steps)
        while self.gradient_steps < end:
            before = self.gradient_steps
            diagnostics = self.optimization_stepper.step(self, None, end - before)
            self._optim_count += self.optimization_stepper.taken
            self._post_optim_hook()
            if (
                self.logger is not None
                and self.gradient_steps // self._log_interval > before // self._log_interval
            ):
                self._log_scalars(diagnostics)
            self._progress.update(self.gradient_steps)
        self.engine.synchronize()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the following gradient steps depend on, sharing memory with the engine."""
        return {
            "gradient_steps": self.gradient_steps,
            "train_seconds": self._seconds(),
            "engine": self.engine.state_dict(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave, maybe in the middle of an outer iteration.

        Raises:
            ConfigError: it is of other networks or another number of seeds.
        """
        self.engine.load_state_dict(state_dict["engine"])
        self._optim_count = state_dict["gradient_steps"]
        self.train_seconds = state_dict["train_seconds"]
        self._progress = self._new_progress()

    def _new_progress(self) -> Progress:
        done, shown = self._optim_count, self._progress_bar
        return Progress(self.offline_steps, title="training", unit="step", done=done, shown=shown)

    def _seconds(self) -> float:
        """In gradient steps, those of an iteration that has not ended included."""
        running = 0.0 if self._since is None else time.perf_counter() - self._since
        return self.train_seconds + running

    def show(self, text: str) -> None:
        """Put `text` (the latest score) beside the progress."""
        self._progress.note(text)

    def shutdown(self) -> None:
        """Nothing to shut down: there is no collector."""

    def _log_scalars(self, diagnostics: TensorDict) -> None:
        for name, values in diagnostics.items():
            self.logger.log_scalar(name, values.mean().item(), step=self.gradient_steps)
