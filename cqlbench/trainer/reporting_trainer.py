"""A torchrl trainer whose hooks and values are told to one reporter."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from tensordict import TensorDictBase
from torchrl.trainers import Trainer

from cqlbench.core.errors import ConfigError
from cqlbench.core.progress import Progress
from cqlbench.engine.engine import Engine
from cqlbench.trainer.logs import Reporter, as_number

_PER_BATCH = ("process_optim_batch", "post_loss", "process_loss", "optimizer", "post_optim_log")


class ReportingTrainer(Trainer):  # type: ignore[misc]  # torchrl has no types
    """torchrl's trainer with a `Reporter` in place of its progress bar, its timers and its clocks of logs."""

    _engine: Engine | None
    _reporter: Reporter
    _shown: bool

    def register_op(self, dest: str, op: Callable[..., Any], **kwargs: Any) -> None:
        """Have `op` called at the stage `dest`, as in torchrl.

        Raises:
            ConfigError: the fused step hands out no batches, and `dest` needs them.
        """
        if self._engine is not None and dest in _PER_BATCH:
            raise ConfigError(
                f"A '{dest}' hook sees single batches, which the fused step draws by itself: train one seed,"
                " with 'loss_module' and an int as 'seed', or use 'post_steps'."
            )
        with warnings.catch_warnings():
            # torchrl will replace some stages by its steppers; ours runs them.
            warnings.simplefilter("ignore", FutureWarning)
            super().register_op(dest, op, **kwargs)

    register_hook = register_op

    def show(self, text: str) -> None:
        """Put `text` (the latest score) beside the progress."""
        self._reporter.show(text)

    def _show_progress(self, title: str, unit: str, total: int, done: int) -> Progress:
        progress = Progress(total, title=title, unit=unit, done=done, shown=self._shown)
        self._reporter.show_on(progress)
        return progress

    def _wrap_hook_with_timing(self, op: Callable[..., Any], hook_name: str | None = None) -> Any:
        name = hook_name or str(getattr(op, "__name__", type(op).__name__))
        return self._reporter.timed(op, name)

    def _log(self, log_pbar: bool = False, **values: Any) -> None:
        numbers = {name: as_number(value) for name, value in values.items()}
        found = {name: number for name, number in numbers.items() if number is not None}
        self._remember(found)
        self._reporter.log(found, note=log_pbar)

    def _remember(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._log_dict[name].append(value)

    def _post_optim_complete_log_hook(self, optim_steps: int, average_losses: TensorDictBase) -> None:
        for op, kwargs in self._post_optim_complete_log_ops:
            self._log(**(op(optim_steps, average_losses, **kwargs) or {}))
        if self._engine is None and self.auto_log_optim_steps:  # the logger has them from the reporter
            self._remember({"optim_steps": optim_steps, **average_losses.to_dict()})
