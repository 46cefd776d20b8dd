"""The gradient steps of a seed batch on a fixed dataset: indices, gather, noise, update, diagnostics."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cqlbench.algorithms.cql import Batch
from cqlbench.algorithms.networks import ActionBox, actor_distribution
from cqlbench.algorithms.update import initial_state, make_update
from cqlbench.config import CQLConfig
from cqlbench.data.preprocess import ObservationNormalizer, RewardTransform
from cqlbench.training.streams import IndexStream, NoiseShape, NoiseStream


@dataclass(frozen=True)
class Columns:
    """A dataset as training reads it; on the CPU usually memory-mapped. Raw values, before preprocessing.

    Attributes:
        observations: `[T, O]` float32.
        actions: `[T, A]` float32.
        rewards: `[T]` float32.
        next_observations: `[T, O]` float32.
        terminated: `[T]` bool.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    next_observations: Tensor
    terminated: Tensor

    def to(self, device: torch.device) -> "Columns":
        """The columns on `device`; nothing is copied where they are there already."""
        return Columns(*(column.to(device) for column in vars(self).values()))


class Engine:
    """Takes gradient steps; owns the training state and says how it went.

    Args:
        config: the algorithm.
        columns: the dataset.
        normalizer: applied to observations of every batch (and by `act`).
        reward_transform: applied to rewards of every batch.
        low: `[A]`, the action box's lower corner.
        high: `[A]`, its upper corner.
        seeds: the seed batch.
        device: where the training state lives.
    """

    def __init__(
        self,
        config: CQLConfig,
        columns: Columns,
        normalizer: ObservationNormalizer,
        reward_transform: RewardTransform,
        low: Tensor,
        high: Tensor,
        seeds: Sequence[int],
        device: torch.device,
    ) -> None:
        self.config = config
        self.seeds = tuple(seeds)
        self.device = device
        self._columns = columns.to(device)
        rows, observation_size = columns.observations.shape
        action_size = columns.actions.shape[1]
        self._box = ActionBox.from_bounds(low, high).to(device)
        self._mean = torch.as_tensor(normalizer.mean, dtype=torch.float32, device=device)
        self._inverse_std = 1 / torch.as_tensor(normalizer.std, dtype=torch.float32, device=device)
        self._reward_transform = reward_transform
        self._indices = IndexStream(seeds, config.batch_size, rows, device)
        self._noise = NoiseStream(seeds, NoiseShape.of(config, action_size), device)
        self._update = make_update(config, self._box)
        self.state = initial_state(config, observation_size, action_size, seeds).to(device)
        self._sums: Tensor | None = None
        self._names: tuple[str, ...] = ()
        self._summed_steps = 0

    def batch(self, step: int) -> Batch:
        """The preprocessed batch of gradient step `step`, `[S, B, …]`."""
        indices = self._indices(step)
        shape = indices.shape
        rows = indices.reshape(-1)

        def gather(column: Tensor) -> Tensor:
            return column.index_select(0, rows).view(*shape, *column.shape[1:])

        return Batch(
            observations=self._normalize(gather(self._columns.observations)),
            actions=gather(self._columns.actions),
            rewards=self._reward_transform(gather(self._columns.rewards)),
            next_observations=self._normalize(gather(self._columns.next_observations)),
            terminated=gather(self._columns.terminated).float(),
        )

    def step(self, step: int) -> dict[str, Tensor]:
        """Take gradient step `step` (counted from 0); returns its diagnostics, `[S]` each, on the device."""
        self.state, diagnostics = self._update(self.state, self.batch(step), self._noise(step))
        values = torch.stack(list(diagnostics.values()))
        if self._sums is None:
            self._names, self._sums = tuple(diagnostics), values
        else:
            self._sums += values
        self._summed_steps += 1
        return diagnostics

    def drain_diagnostics(self) -> dict[str, list[float]]:
        """Each diagnostic's mean over the steps since the last call, one number per seed. Synchronises."""
        if self._sums is None:
            return {}
        means = (self._sums / self._summed_steps).tolist()
        self._sums, self._summed_steps = None, 0
        return dict(zip(self._names, means, strict=True))

    def finite_seeds(self) -> list[bool]:
        """Whether each seed's parameters are all finite. Synchronises."""
        flags: list[bool] = self.state.finite().tolist()
        return flags

    @torch.no_grad()
    def act(self, observations: Tensor) -> Tensor:
        """Deterministic actions of every seed at its own raw observations, `[S, E, O]` -> `[S, E, A]`."""
        normalized = self._normalize(observations.to(self.device, torch.float32))
        return actor_distribution(self.state.parameters["actor"], normalized, self._box).mode()

    def seconds_per_step(self, steps: int = 8) -> float:
        """The time of a gradient step, measured on a copy of the state: training is not advanced."""
        kept = self.state
        self.state = kept.clone()
        for step in range(2):
            self.step(step)
        self.synchronize()
        start = time.perf_counter()
        for step in range(steps):
            self.step(step)
        self.synchronize()
        seconds = (time.perf_counter() - start) / steps
        self.drain_diagnostics()
        self.state = kept
        return seconds

    def _normalize(self, observations: Tensor) -> Tensor:
        return (observations - self._mean) * self._inverse_std

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
