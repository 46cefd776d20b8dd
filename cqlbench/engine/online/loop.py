"""Collecting for a whole seed batch: what `CQLTrainer` does between two batches of gradient steps."""

from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from cqlbench.core.errors import ConfigError
from cqlbench.engine.engine import Engine
from cqlbench.engine.online.collector import SeedCollector
from cqlbench.engine.online.mixture import as_columns, training_batches


def by_seed(trainer: Any, engine: Engine) -> Iterator[TensorDict]:
    """The collected batches of `trainer`'s collector, `[S, n]`, in `engine`'s rows and counted already.

    Those that a killed process had committed after its last checkpoint come first; then the collector goes on
    from where it stood after them.
    """
    assert engine.online is not None
    rows, collector = engine.online.rows, trainer.collector
    frames = batch_frames(collector, len(engine.seeds))
    if rows.replaying and isinstance(collector, SeedCollector):
        collector.load_state_dict(rows.committed_state())  # what came to pass while they were collected, too
    while (batch := engine.replay(frames)) is not None:
        trainer.collected_frames += frames
        yield _tensordict(batch)
    for collected, broken, state in _batches(trainer, len(engine.seeds)):
        engine.extend(collected, state, broken)
        trainer.collected_frames += collected["rewards"].shape[1]
        yield _tensordict(collected)


def _batches(trainer: Any, seeds: int) -> Iterator[tuple[Mapping[str, Tensor], Tensor | None, Any]]:
    collector = trainer.collector
    rows = trainer.engine.online.rows
    if not isinstance(collector, SeedCollector):
        # torchrl's environments have no state to go on from: they begin new episodes in a new process.
        broken = torch.full((seeds, rows.environments), bool(rows.rows))
        for batch in collector:
            yield as_columns(batch, seeds, rows.environments), broken, None
            broken = torch.zeros_like(broken)
        return
    while True:
        collected = collector.collect()
        _show_returns(trainer, collector)
        columns = dict(vars(collected))
        broken = columns.pop("broken_before")
        if (environments := broken.shape[1]) > 1:
            columns = {name: _in_time(column, environments) for name, column in columns.items()}
        yield columns, broken, collector.state_dict()


def _show_returns(trainer: Any, collector: SeedCollector) -> None:
    """Log the episodes that have ended, and forget them: the commit marker keeps what the collector holds."""
    ended, collector.episodes = collector.episodes, []
    if not ended or trainer.logger is None:
        return
    logged = {
        "return": fmean(each.episode_return for each in ended),
        "length": fmean(each.length for each in ended),
    }
    for name, value in logged.items():
        trainer.logger.log_scalar(f"collected/episode_{name}", value, step=trainer.clock)


def _in_time(column: Tensor, environments: int) -> Tensor:
    """Rows `[S, E * T, …]` environment by environment, to rows in time."""
    apart = column.view(len(column), environments, -1, *column.shape[2:])
    return apart.transpose(1, 2).flatten(1, 2)


def _tensordict(batch: Mapping[str, Tensor]) -> TensorDict:
    """Torchrl's layout, for hooks and logs."""
    truncated = batch["ended"] & ~batch["terminated"]
    following = {
        "observation": batch["next_observations"],
        "reward": batch["rewards"].unsqueeze(-1),
        "terminated": batch["terminated"].unsqueeze(-1),
        "truncated": truncated.unsqueeze(-1),
        "done": batch["ended"].unsqueeze(-1),
    }
    shape = batch["rewards"].shape
    return TensorDict(
        {
            "observation": batch["observations"],
            "action": batch["actions"],
            "next": TensorDict(following, batch_size=shape),
        },
        batch_size=shape,
    )


def refuse_frames(engine: Engine, collector: Any, total_frames: int, frame_skip: int) -> None:
    """Refuse what the collected frames of a seed cannot be.

    Raises:
        ConfigError: they are no whole number of batches, there is no room for them, or they are counted or
            laid out in another way.
    """
    assert engine.online is not None
    if frame_skip != 1:
        raise ConfigError(f"'frame_skip' is {frame_skip}, but a seed batch counts every frame: leave it out.")
    mine = engine.online.rows.environments
    if isinstance(collector, SeedCollector) and collector.environments != mine:
        raise ConfigError(
            f"The collector has {collector.environments} environments per seed, and the engine's rows are of"
            f" {mine}: make them equal."
        )
    frames, room = batch_frames(collector, len(engine.seeds)), engine.online.rows.capacity
    if total_frames % frames:
        raise ConfigError(
            f"'total_frames' is {total_frames}, but must be a multiple of the {frames} frames that a batch"
            " has of each seed."
        )
    if total_frames > room:
        raise ConfigError(f"'total_frames' is {total_frames}, and the engine has room for {room} per seed.")


def batch_frames(collector: Any, seeds: int) -> int:
    """Frames per batch, of each of `seeds`.

    Raises:
        ConfigError: the collector does not say.
    """
    if isinstance(collector, SeedCollector):
        return collector.frames_per_batch
    frames = getattr(collector, "requested_frames_per_batch", None)
    if not isinstance(frames, int) or frames < seeds or frames % seeds:
        raise ConfigError(
            f"The collector's frames per batch are {frames!r}, and must be as many for each of {seeds} seeds."
        )
    return frames // seeds


def random_frames(trainer: Any) -> int:
    """Frames, as `trainer` counts them, before its gradient steps begin."""
    frames: int = getattr(trainer.collector, "init_random_frames", 0) or 0
    shared = trainer._engine is not None and not isinstance(trainer.collector, SeedCollector)
    return frames // len(trainer._engine.seeds) if shared else frames


def finish_iteration(trainer: Any) -> None:
    """The gradient steps, and what follows them, that a killed process still owed to collected frames."""
    if trainer._engine is None or trainer.collector is None or trainer._stop_training:
        return
    trainer.engine.begin_online()
    if steps_due(trainer) > trainer.gradient_steps:
        trainer.optim_steps(None)
        trainer._post_steps_hook()
        trainer._post_steps_log_hook(None)


def steps_due(trainer: Any) -> int:
    """Gradient steps that `trainer`'s collected frames ask for, the offline ones included."""
    frames = batch_frames(trainer.collector, len(trainer.engine.seeds))
    batches = training_batches(trainer.collected_frames, frames, random_frames(trainer))
    due: int = trainer.offline_steps + batches * trainer.online_steps_per_batch
    return due
