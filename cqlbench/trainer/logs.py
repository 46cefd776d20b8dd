"""What a trainer tells its logger and its user: losses, statistics of batches, times of hooks, progress."""

import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.trainers import LogScalar

from cqlbench.algorithms.algorithm import Batch
from cqlbench.core.progress import Progress
from cqlbench.engine.diagnostics import Reader


class Means:
    """Running means of scalars, or of one value per seed, by name; holds no graph."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Count one more value of each name."""
        for name, value in values.items():
            value = value.detach()
            before = self._sums.get(name)  # of a loaded state, it may lie on the CPU
            self._sums[name] = value.clone() if before is None else before.to(value.device) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def drain(self) -> dict[str, float]:
        """The means since the last call; of a seed batch's values, over the seeds that have not diverged."""
        means = {
            name: float(total.float().nanmean()) / self._counts[name] for name, total in self._sums.items()
        }
        self._sums, self._counts = {}, {}
        return means

    def state_dict(self) -> dict[str, Any]:
        """What `drain` would divide."""
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from `state`."""
        self._sums = {name: value.clone() for name, value in state["sums"].items()}
        self._counts = dict(state["counts"])


_Statistic = Callable[[Tensor], Tensor]
_SPREAD: dict[str, _Statistic] = {"mean": Tensor.mean, "std": partial(Tensor.std, correction=0)}
_STATISTICS: dict[str, tuple[tuple[str, ...], dict[str, _Statistic]]] = {
    "terminated": (("next", "terminated"), {"fraction": Tensor.mean}),
    "truncated": (("next", "truncated"), {"fraction": Tensor.mean}),
    "reward": (("next", "reward"), _SPREAD | {"max": Tensor.max}),
    "action": (("action",), _SPREAD),
    "observation": (("observation",), _SPREAD),
}


def batch_statistics(batch: TensorDictBase, prefix: str, columns: Mapping[str, bool]) -> dict[str, float]:
    """Statistics over a batch's valid entries and all components, named `<prefix>/<column>_<statistic>`.

    Args:
        batch: torchrl's keys, any shape; a column that is not there is left out.
        prefix: `batch` for what a gradient step sees, `collected` for what an environment gave.
        columns: whether those of `rewards`, `actions` and `observations` are wanted; `rewards` also says the
            mean return of the episodes that end here, where torchrl's `RewardSum` keeps it.
    """
    mask = batch.get(("collector", "mask"), None)

    def column(*key: str) -> Tensor:
        found = batch.get(key, None)
        return torch.empty(0) if found is None else (found if mask is None else found[mask]).float()

    values: dict[str, float] = {}
    for name, (key, statistics) in _STATISTICS.items():
        if columns.get(f"{name}s", True) and (found := column(*key)).numel():
            values |= {f"{prefix}/{name}_{each}": of(found).item() for each, of in statistics.items()}
    done = column("next", "done").bool()
    for name in ("reward_sum", "episode_reward"):  # the second one counts where both are there
        if columns["rewards"] and done.any() and (returns := column("next", name)).numel():
            values[f"{prefix}/episode_return_mean"] = returns[done].mean().item()
    return values


def torchrl_statistics(columns: Mapping[str, bool]) -> Callable[[TensorDictBase | None], dict[str, float]]:
    """A logging hook for what torchrl's `CQLTrainer` logs of a batch, under its names.

    `columns` is as of `batch_statistics`.
    """
    reward = ("next", "reward")
    scalars = {
        "done": [LogScalar(("next", "done"), "done_percentage", include_std=False)],
        "rewards": [
            LogScalar(reward, "r_training"),
            LogScalar(reward, "r_max", include_std=False, reduction="max"),
            LogScalar(("next", "reward_sum"), "r_total", include_std=False, reduction="max"),
        ],
        "actions": [LogScalar("action", "action_norm")],
        "observations": [LogScalar("observation", "obs_norm")],
    }
    wanted = [scalar for name, some in scalars.items() if columns.get(name, True) for scalar in some]

    def torchrl_scalars(batch: TensorDictBase | None) -> dict[str, float]:
        values: dict[str, float] = {}
        for scalar in wanted:
            if batch is not None and batch.get(scalar.key, None) is not None:
                values |= scalar(batch)
        return values | {"log_pbar": False}

    return torchrl_scalars


def as_tensordict(batch: Batch) -> TensorDict:
    """A seed batch's batch `[S, B]` under torchrl's keys."""
    following = {"reward": batch.rewards, "terminated": batch.terminated}
    columns = {"observation": batch.observations, "action": batch.actions, "next": following}
    return TensorDict(columns, batch_size=batch.rewards.shape)


def as_number(value: Any) -> float | None:
    """A hook's value for a logger: a tensor's mean, a number; `None` where it is neither."""
    if isinstance(value, Tensor):
        return value.float().nanmean().item() if value.numel() else None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


class Reporter:
    """Tells a `CQLTrainer`'s logger and progress what there is to say, when it is time to.

    The trainer's `clock` is the step axis and what `log_interval` is counted in. `columns` are as of
    `batch_statistics`; `None` logs no statistics.
    """

    def __init__(self, trainer: Any, columns: Mapping[str, bool] | None, *, with_times: bool) -> None:
        self._trainer = trainer
        self.columns = columns
        self._with_times = with_times
        self._means = Means()
        self._last = 0
        self._score = ""
        self._notes: dict[str, str] = {}
        self._times: dict[str, tuple[float, int]] = {}
        self.progress = Progress(1, title="", unit="", shown=False)

    def timed(self, hook: Callable[..., Any], name: str) -> Callable[..., Any]:
        """`hook`, whose seconds per call are logged; of this trainer's only, unlike torchrl's `timeit`."""

        def run(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return hook(*args, **kwargs)
            finally:
                seconds, calls = self._times.get(name, (0.0, 0))
                self._times[name] = seconds + time.perf_counter() - start, calls + 1

        run.__wrapped__, run.__name__ = hook, name  # type: ignore[attr-defined]  # as torchrl's wrapper has
        return run

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Let scalars into the means that are logged next."""
        if self._trainer.logger is not None:
            self._means.add(losses)

    @property
    def steps_left(self) -> float:
        """Steps until there is something to log; infinite where there is no logger."""
        trainer = self._trainer
        return math.inf if trainer.logger is None else trainer._log_interval - (trainer.clock - self._last)

    def report(self, batch: TensorDictBase | None, at_once: bool = False) -> None:
        """Log the losses, and statistics of `batch`, if `log_interval` has passed, or `at_once` if new."""
        trainer = self._trainer
        passed = trainer.clock - self._last
        if trainer.logger is None or passed < (1 if at_once else trainer._log_interval):
            return
        self._last = trainer.clock
        values: dict[str, float] = {
            "gradient_steps": trainer.gradient_steps,
            "collected_frames": trainer.collected_frames,
        }
        engine = trainer._engine
        if trainer.auto_log_optim_steps:
            fused = {} if engine is None else engine.drain_diagnostics(Reader.LOG)
            means = {
                name: torch.tensor(each, dtype=torch.float64).nanmean().item() for name, each in fused.items()
            }
            values |= {"optim_steps": trainer.gradient_steps} | means | self._means.drain()
        if self.columns is not None and engine is not None:
            batch = as_tensordict(engine.batch(trainer.gradient_steps - 1))
        if self.columns is not None and batch is not None:
            values |= batch_statistics(batch, "batch", self.columns)
        if self.columns is not None and trainer.collected_frames and trainer.batch_size:
            online = max(trainer.gradient_steps - trainer.offline_steps, 0)
            values |= {
                "utd_ratio": trainer.batch_size * online / trainer.collected_frames,
                "write_count": trainer.replay_buffer.write_count,
                "update_count": trainer.gradient_steps,
            }
        if self._with_times:
            values |= {f"time/hook/{name}": total / calls for name, (total, calls) in self._times.items()}
        for name, value in values.items():
            trainer.logger.log_scalar(name, value, step=trainer.clock)

    def collected(self, batch: TensorDictBase | None) -> None:
        """Log statistics of a collected batch, and show how it went beside the progress."""
        unseen = self._trainer.logger is None and not self._trainer._shown
        if batch is None or self.columns is None or unseen:
            return
        values = batch_statistics(batch, "collected", self.columns)
        self.log(values)
        for name, short in (("episode_return_mean", "return"), ("reward_mean", "reward")):
            if f"collected/{name}" in values:
                self._notes[short] = f"{short} {values[f'collected/{name}']:.1f}"
        self._show()

    def log(self, values: Mapping[str, float], *, note: bool = False) -> None:
        """Log values, each as often as `log_interval` says."""
        trainer = self._trainer
        for name, value in values.items():
            if note:
                self._notes[name] = f"{name} {value:.4g}"
            if trainer.clock - trainer._last_log.get(name, 0) >= trainer._log_interval:
                trainer._last_log[name] = trainer.clock
                if trainer.logger is not None:
                    trainer.logger.log_scalar(name, value, step=trainer.clock)
        if note:
            self._show()

    def show_on(self, progress: Progress) -> None:
        """Show scores and notes on `progress` from now on."""
        self.progress = progress
        self._show()

    def show(self, text: str) -> None:
        """Put `text` beside the progress, before the notes."""
        self._score = text
        self._show()

    def _show(self) -> None:
        self.progress.note(", ".join(filter(None, [self._score, *self._notes.values()])))

    def state_dict(self) -> dict[str, Any]:
        """What the next report depends on."""
        return {"last": self._last, "means": self._means.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from `state`."""
        self._last = state["last"]
        self._means.load_state_dict(state["means"])
