"""The online phase of a seed batch: batches that mix the dataset's rows with a seed's own."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cqlbench.algorithms.algorithm import Column, Rows
from cqlbench.core.errors import ConfigError
from cqlbench.core.seeding import Purpose
from cqlbench.data.preprocess import RewardTransform
from cqlbench.engine.dataset_tensors import fits
from cqlbench.engine.online.rows import OnlineRows
from cqlbench.engine.streams import IndexStream

_LARGE = 2**62
"""Drawn uniformly below it and reduced by the number of rows: no row is preferred noticeably."""


def training_batches(frames: int, frames_per_batch: int, random_frames: int) -> int:
    """How many of the batches that make up `frames` gradient steps follow: those after the random ones."""
    first = max(1, math.ceil(random_frames / frames_per_batch))
    return max(frames // frames_per_batch - first + 1, 0)


def evaluations_due(total: int, batch: int, interval: int) -> int:
    """How many evaluations `total` frames or steps bring, taken in batches."""
    apart = max(interval, batch)
    return total // apart + (total % apart >= batch)


def offline_share(first: float, final: float | None, anneal_rows: int, rows: int) -> float:
    """The dataset's share of a batch once a seed has collected `rows`: see `OnlinePhase`."""
    if final is None:
        return first
    return first + (final - first) * (min(rows / anneal_rows, 1.0) if anneal_rows else 1.0)


@dataclass(frozen=True)
class OnlinePhase:
    """What changes when a seed batch begins to learn from its own environments.

    Attributes:
        rows: what they have seen.
        offline_fraction: of each seed's batch, how much is the dataset's, rounded to whole rows; `None`: each
            row is drawn from the dataset's and the seed's alike, as from one buffer that grows.
        final_offline_fraction: what it becomes, linearly in the collected rows per seed; `None`: it stays.
        anneal_rows: collected rows per seed at which it gets there.
        changes: of the algorithm's settings: field to value (CORL's `cql_alpha_online` is one).

    Raises:
        ConfigError: a fraction outside [0, 1], or a share that changes of one buffer.
    """

    rows: OnlineRows
    offline_fraction: float | None = 0.5
    final_offline_fraction: float | None = None
    anneal_rows: int = 0
    changes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("offline_fraction", "final_offline_fraction"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"{name}={value} must be between 0 and 1.")
        if self.offline_fraction is None and self.final_offline_fraction is not None:
            raise ConfigError("final_offline_fraction requires an offline_fraction to change.")

    def offline_rows(self, batch_size: int) -> int:
        """How many of a seed's `batch_size` rows are the dataset's now: all, before anything is collected."""
        first, final = self.offline_fraction, self.final_offline_fraction
        if not self.rows.rows or first is None:
            return batch_size
        return round(offline_share(first, final, self.anneal_rows, self.rows.rows) * batch_size)


class Mixture:
    """`mixture(step)`: the rows of a gradient step, `[S · B, …]`, in each seed the dataset's before its own.

    Drawn as from one buffer (`offline_fraction=None`), the two kinds stand in any order.

    torchrl's `OfflineToOnlineReplayBuffer` mixes the same way, but for one learner: it has no rows by seed,
    no batch that is a function of (seed, step), and no state to save.

    Args:
        phase: the rows and their share.
        offline: `offline(step, count)` gives the dataset's share, `[S · count, …]` each; `None` without one.
        seeds: the seed batch.
        batch_size: B.
        device: where the rows are wanted, and kept where there is room for them.
        extra: finds the algorithm's own columns of collected episodes; `None` where it has none.
        dataset_rows: what `offline` draws from, counted.
    """

    def __init__(
        self,
        phase: OnlinePhase,
        offline: Callable[[int, int], list[Tensor]] | None,
        seeds: Sequence[int],
        batch_size: int,
        device: torch.device,
        extra: "EpisodeColumns | None" = None,
        dataset_rows: int = 0,
    ) -> None:
        self._phase, self._offline, self._device = phase, offline, device
        self._batch_size, self._extra, self._dataset_rows = batch_size, extra, dataset_rows
        host = torch.device("cpu")
        self._indices = IndexStream(seeds, batch_size, _LARGE, host, purpose=Purpose.ONLINE_BATCHES)
        self.rows = rows = phase.rows
        self._host = [column for name, column in rows.columns.items() if name not in ("ended", "broken")]
        if extra is not None:
            self._host += extra.columns
        resident = device.type == "cuda" and fits(self._host, device)
        self._columns = [torch.empty_like(c, device=device) for c in self._host] if resident else self._host
        where = device if resident else host
        self._firsts = torch.arange(len(seeds), device=where).unsqueeze(1) * rows.capacity
        self._refresh(0)

    def extend(self, batch: Mapping[str, Tensor], state: Any = None, broken: Tensor | None = None) -> None:
        """Add collected rows, as `OnlineRows.extend` does."""
        first = self.rows.rows
        self.rows.extend(batch, state, broken)
        self._refresh(first)

    def replay(self, count: int) -> dict[str, Tensor] | None:
        """Take over committed rows, as `OnlineRows.replay` does."""
        first = self.rows.rows
        found = self.rows.replay(count)
        if found is not None:
            self._refresh(first)
        return found

    def go_back(self, rows: int) -> None:
        """Have `rows` per seed again, as `OnlineRows.go_back` does."""
        self.rows.go_back(rows)
        self._refresh(0)

    def _refresh(self, first: int) -> None:
        if self._extra is not None:
            first = min(first, self._extra.update(first))
        if self._columns is not self._host:
            for column, host in zip(self._columns, self._host, strict=True):
                column[:, first : self.rows.rows].copy_(host[:, first : self.rows.rows])

    def __call__(self, step: int) -> list[Tensor]:
        """The rows of gradient step `step`, column by column.

        Raises:
            ConfigError: there is nothing to draw from.
        """
        rows, batch_size = self.rows.rows, self._batch_size
        offline = self._phase.offline_rows(batch_size)
        if self._offline is None:
            if not rows:
                raise ConfigError("There is no dataset, and nothing has been collected yet: collect first.")
            offline = 0
        elif self._phase.offline_fraction is None and rows:
            return self._pooled(step)
        parts = []
        if offline and self._offline is not None:
            parts.append(_shaped(self._offline(step, offline), offline))
        if offline < batch_size:
            own = self._own(self._indices(step)[:, offline:] % rows)
            parts.append(_shaped(own, batch_size - offline))
        return [torch.cat(columns, dim=1).flatten(0, 1) for columns in zip(*parts, strict=True)]

    def _pooled(self, step: int) -> list[Tensor]:
        """Each row uniformly from the dataset's and the seed's own: as many of each as the draw gives."""
        assert self._offline is not None
        drawn = self._indices(step) % (self._dataset_rows + self.rows.rows) - self._dataset_rows
        chosen = (drawn >= 0).reshape(-1).to(self._device)
        dataset, own = self._offline(step, self._batch_size), self._own(drawn.clamp(min=0))
        return [
            torch.where(chosen.view(-1, *(1,) * (column.dim() - 1)), column, other)
            for column, other in zip(own, dataset, strict=True)
        ]

    def _own(self, rows: Tensor) -> list[Tensor]:
        """Rows `[S, n]` of each seed, as columns `[S · n, …]`."""
        flat = (rows.to(self._firsts.device) + self._firsts).reshape(-1)
        return [column.flatten(0, 1).index_select(0, flat).to(self._device) for column in self._columns]


def _shaped(columns: Sequence[Tensor], count: int) -> list[Tensor]:
    return [column.view(-1, count, *column.shape[1:]) for column in columns]


class EpisodeColumns:
    """An algorithm's own columns of collected rows, known when their episode has ended; −∞ until then.

    Args:
        rows: the collected rows.
        transform: what preprocesses rewards.
        columns: the columns, in order: see `Algorithm.columns`.
        lowest: the dataset's lowest preprocessed reward; NaN without a dataset.

    Attributes:
        columns: `[S, capacity]` or `[S, capacity, A]` float32 each.
    """

    def __init__(
        self, rows: OnlineRows, transform: RewardTransform, columns: Mapping[str, Column], lowest: float
    ) -> None:
        self._rows, self._transform, self._lowest = rows, transform, lowest
        self._of = list(columns.values())
        flag, shape = np.ones(1, np.bool_), rows.columns["actions"].shape
        row = Rows(np.zeros((1, shape[2]), np.float32), np.zeros(1, np.float32), flag, flag, lowest)
        self.columns = [torch.full((*shape[:2], *of(row).shape[1:]), -torch.inf) for of in self._of]
        self._begins = torch.zeros(len(rows.columns["rewards"]), rows.environments, dtype=torch.int64)

    def update(self, first: int) -> int:
        """Take over the rows from `first` on; returns the first row that has changed."""
        rows, environments = self._rows, self._rows.environments
        if first == 0:
            for column in self.columns:
                column.fill_(-torch.inf)
            self._begins[:] = torch.arange(environments)
        changed, new = rows.rows, slice(first, rows.rows)
        ended = rows.columns["ended"][:, new].nonzero() + torch.tensor([0, first])
        broken = rows.columns["broken"][:, new].nonzero() + torch.tensor([0, first - environments])
        for seed, last in sorted([*ended.tolist(), *broken.tolist()]):
            begin = int(self._begins[seed, last % environments])
            if begin > last:  # it ended before its environment broke
                continue
            episode = slice(begin, last + 1, environments)
            actions, rewards, terminated = (
                rows.columns[name][seed, episode].numpy() for name in ("actions", "rewards", "terminated")
            )
            lasts = np.arange(len(rewards)) == len(rewards) - 1
            seen = Rows(actions, self._transform(rewards), terminated, lasts, self._lowest)
            for column, of in zip(self.columns, self._of, strict=True):
                column[seed, episode] = torch.from_numpy(of(seen))
            self._begins[seed, last % environments] = last + environments
            changed = min(changed, begin)
        return changed


def as_columns(batch: Any, seeds: int, environments: int = 1) -> dict[str, Tensor]:
    """A collected batch as `OnlineRows.extend` takes it, `[S, n · E, …]`; row `i` is of environment `i % E`.

    Args:
        batch: a tensordict of torchrl's keys, `[S, E, n]`, `[S, n]` or, of one seed, `[n]` or `[E, n]`.
        seeds: S.
        environments: E.

    Raises:
        ConfigError: a column is missing, or the batch is not of so many seeds.
    """
    shape = tuple(batch.batch_size)
    if seeds == 1 and (len(shape) < 2 or shape[0] != 1):
        batch = batch.unsqueeze(0)
    if len(batch.batch_size) == 2:
        batch = batch.unsqueeze(1)
    if len(batch.batch_size) != 3 or tuple(batch.batch_size[:2]) != (seeds, environments):
        raise ConfigError(
            f"The environment's batch size must be [{seeds}, {environments}] (seeds, environments of each); a"
            f" collected batch has the shape {list(shape)}."
        )
    keys: dict[str, Any] = {
        "observations": "observation",
        "actions": "action",
        "rewards": ("next", "reward"),
        "next_observations": ("next", "observation"),
        "terminated": ("next", "terminated"),
        "ended": ("next", "done"),
    }
    if missing := [key for key in keys.values() if batch.get(key, None) is None]:
        raise ConfigError(f"A collected batch lacks a column: {missing[0]!r}.")
    columns = {name: batch.get(key).transpose(1, 2).flatten(1, 2) for name, key in keys.items()}
    scalars = {name: columns[name].squeeze(-1) for name in ("rewards", "terminated", "ended")}
    return columns | scalars
