"""Collecting for a whole seed batch, between two batches of gradient steps."""

from collections.abc import Callable, Iterator, Mapping
from statistics import fmean
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from cqlbench.core.errors import ConfigError
from cqlbench.engine.engine import Engine
from cqlbench.engine.online.collector import SeedCollector
from cqlbench.engine.online.mixture import as_columns, training_batches


class SeedCollection:
    """What a collector gathers for the seeds of an engine, put into the engine's rows.

    The collector is a `SeedCollector`, or torchrl's, of an environment of batch size `[S]` or `[S, E]`.

    Attributes:
        frames_per_batch: of each seed.
        random_frames: of each seed, before gradient steps begin.

    Raises:
        ConfigError: the engine has no place for collected rows, they are laid out in another way, or
            `total_frames` is no whole number of batches, or more than there is room for.
    """

    def __init__(self, engine: Engine, collector: Any, total_frames: int) -> None:
        if engine.online is None:
            raise ConfigError("The engine has no place for collected rows: pass online=OnlinePhase(…) to it.")
        self._engine, self._collector, self._rows = engine, collector, engine.online.rows
        self.random_frames: int = getattr(collector, "init_random_frames", 0) or 0
        if isinstance(collector, SeedCollector):
            self.frames_per_batch = collector.frames_per_batch
            if collector.environments != self._rows.environments:
                raise ConfigError(
                    f"The collector has {collector.environments} environments per seed, and the engine's rows"
                    f" are of {self._rows.environments}."
                )
        else:
            seeds, frames = len(engine.seeds), getattr(collector, "requested_frames_per_batch", None)
            if not isinstance(frames, int) or frames < seeds or frames % seeds:
                raise ConfigError(
                    f"The collector's frames per batch, {frames!r}, are no multiple of {seeds} seeds."
                )
            self.frames_per_batch, self.random_frames = frames // seeds, self.random_frames // seeds
        if total_frames % self.frames_per_batch:
            raise ConfigError(
                f"'total_frames' is {total_frames}, but must be a multiple of {self.frames_per_batch}: the"
                " frames of each seed in a batch."
            )
        if total_frames > self._rows.capacity:
            raise ConfigError(
                f"'total_frames' is {total_frames}, but the engine has room for {self._rows.capacity}."
            )

    def training_batches(self, frames: int) -> int:
        """How many batches of gradient steps follow `frames` collected frames per seed."""
        return training_batches(frames, self.frames_per_batch, self.random_frames)

    def batches(self, log: Callable[[str, float], None]) -> Iterator[TensorDict]:
        """The collected batches, `[S, n]`, in the engine's rows already.

        Those that a killed process had committed after its last checkpoint come first; then the collector
        resumes after them.

        `log` is called with the mean return and length of the episodes that have ended.
        """
        mixture = self._engine.begin_online()
        if self._rows.replaying and isinstance(self._collector, SeedCollector):
            self._collector.load_state_dict(self._rows.committed_state())
        while (replayed := mixture.replay(self.frames_per_batch)) is not None:
            yield _tensordict(replayed)
        for batch, broken, state in self._collected(log):
            mixture.extend(batch, state, broken)
            yield _tensordict(batch)

    def _collected(
        self, log: Callable[[str, float], None]
    ) -> Iterator[tuple[Mapping[str, Tensor], Tensor, Any]]:
        collector, seeds = self._collector, len(self._engine.seeds)
        if not isinstance(collector, SeedCollector):
            # torchrl's environments have no state to resume from: they begin new episodes in a new process.
            broken = torch.full((seeds, self._rows.environments), bool(self._rows.rows))
            for batch in collector:
                yield as_columns(batch, seeds, self._rows.environments), broken, None
                broken = torch.zeros_like(broken)
            return
        while True:
            columns = dict(vars(collector.collect()))
            # Forgotten here: the commit marker keeps what the collector holds.
            ended, collector.episodes = collector.episodes, []
            if ended:
                log("collected/episode_return", fmean(each.episode_return for each in ended))
                log("collected/episode_length", fmean(each.length for each in ended))
            yield columns, columns.pop("broken_before"), collector.state_dict()


def _tensordict(batch: Mapping[str, Tensor]) -> TensorDict:
    """Torchrl's layout, for hooks and logs."""
    terminated, ended = batch["terminated"].unsqueeze(-1), batch["ended"].unsqueeze(-1)
    following = {
        "observation": batch["next_observations"],
        "reward": batch["rewards"].unsqueeze(-1),
        "terminated": terminated,
        "truncated": ended & ~terminated,
        "done": ended,
    }
    columns = {"observation": batch["observations"], "action": batch["actions"], "next": following}
    return TensorDict(columns, batch_size=batch["rewards"].shape)
