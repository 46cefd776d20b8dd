"""The gradient steps of a seed batch on a fixed dataset: indices, gather, noise, update, diagnostics."""

import enum
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchrl.data import TensorDictReplayBuffer

from cqlbench.algorithms.cql import Batch
from cqlbench.algorithms.networks import ActionBox, ActionSpace, DiscreteActions, actor_distribution
from cqlbench.algorithms.update import TrainState, act, initial_state, make_update
from cqlbench.config import CQLConfig
from cqlbench.data.preprocess import ObservationNormalizer, RewardTransform
from cqlbench.errors import ConfigError
from cqlbench.training.graph import capture
from cqlbench.training.prefetch import Prefetcher
from cqlbench.training.streams import CHUNK, IndexStream, NoiseShape, NoiseStream


class Reader(enum.IntEnum):
    """Who drains the diagnostics: each has sums of its own, since each drains at other steps."""

    EVALUATION = 0
    LOG = 1


@dataclass(frozen=True)
class Columns:
    """A dataset as training reads it; on the CPU usually memory-mapped. Raw values, before preprocessing.

    Attributes:
        observations: `[T, O]` float32.
        actions: `[T, A]` float32; discrete ones one-hot.
        rewards: `[T]` float32.
        next_observations: `[T, O]` float32.
        terminated: `[T]` bool.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    next_observations: Tensor
    terminated: Tensor

    @classmethod
    def of(cls, buffer: TensorDictReplayBuffer) -> Self:
        """All rows of a replay buffer, without a copy where its storage is memory-mapped."""
        rows = buffer.storage[: len(buffer)]

        def column(*key: str) -> Tensor:
            # A plain view of the mapped pages: the tensor subclass costs microseconds at every operation.
            mapped: Tensor = rows.get(key)
            return mapped.as_subclass(Tensor)

        return cls(
            observations=column("observation"),
            actions=column("action"),
            rewards=column("next", "reward").flatten(),
            next_observations=column("next", "observation"),
            terminated=column("next", "terminated").flatten(),
        )

    def to(self, device: torch.device) -> "Columns":
        """The columns on `device`; nothing is copied where they are there already."""
        return Columns(*(column.to(device) for column in vars(self).values()))

    def fits(self, device: torch.device) -> bool:
        """Whether `device` has room for the columns, with as much left over for training."""
        if device.type != "cuda":
            return True
        size = sum(column.numel() * column.element_size() for column in vars(self).values())
        free, _ = torch.cuda.mem_get_info(device)
        return bool(2 * size < free)


class Engine:
    """Takes gradient steps; owns the training state and says how it went.

    Args:
        config: the algorithm.
        columns: the dataset.
        normalizer: applied to observations of every batch (and by `act`).
        reward_transform: applied to rewards of every batch.
        actions: what actions there are.
        seeds: the seed batch.
        device: where the training state lives.
    """

    def __init__(
        self,
        config: CQLConfig,
        columns: Columns,
        normalizer: ObservationNormalizer,
        reward_transform: RewardTransform,
        actions: ActionSpace,
        seeds: Sequence[int],
        device: torch.device,
    ) -> None:
        if device.type == "cuda":
            torch.cuda.set_device(device)  # streams and graphs belong to the current device
        self.config = config
        self.seeds = tuple(seeds)
        self.device = device
        rows, observation_size = columns.observations.shape
        self._resident = columns.fits(device)
        self._columns = columns.to(device) if self._resident else columns
        self.actions = actions.to(device)
        self.discrete = isinstance(actions, DiscreteActions)
        self._mean = torch.as_tensor(normalizer.mean, dtype=torch.float32, device=device)
        self._inverse_std = 1 / torch.as_tensor(normalizer.std, dtype=torch.float32, device=device)
        self._reward_transform = reward_transform
        where = device if self._resident else torch.device("cpu")
        self._indices = IndexStream(seeds, config.batch_size, rows, where)
        if self._resident:
            self._rows: Callable[[int], list[Tensor]] = self._gather
        else:
            self._rows = Prefetcher(list(vars(columns).values()), self._flat_indices, device)
        noise = NoiseShape.of(config, 0 if self.discrete else actions.size)
        self._noise = NoiseStream(seeds, noise, device)
        self._update = make_update(config, self.actions)
        state = initial_state(config, observation_size, actions.size, seeds, discrete=self.discrete)
        self.state = state.to(device)
        self._sums: Tensor | None = None  # [readers, diagnostics, S]
        self._names: tuple[str, ...] = ()
        self._summed_steps = [0] * len(Reader)
        self._latest: Tensor | None = None
        self._graph: torch.cuda.CUDAGraph | None = None

    def batch(self, step: int) -> Batch:
        """The preprocessed batch of gradient step `step`, `[S, B, …]`."""
        rows = self._rows(step)
        shape = (len(self.seeds), self.config.batch_size)
        observations, actions, rewards, next_observations, terminated = (
            column.view(*shape, *column.shape[1:]) for column in rows
        )
        return Batch(
            observations=self._normalize(observations),
            actions=actions,
            rewards=self._reward_transform(rewards),
            next_observations=self._normalize(next_observations),
            terminated=terminated.float(),
        )

    def advance(self, step: int, at_most: int) -> int:
        """Take gradient steps from `step` (counted from 0) on, as many as one launch takes.

        On CUDA, with the dataset resident, that is a whole chunk replayed as one graph; otherwise one step.

        Returns:
            How many steps were taken, `at_most` at most.
        """
        graphed = self.device.type == "cuda" and self._resident
        if not graphed or step % CHUNK or at_most < CHUNK:
            self.step(step)
            return 1
        self._noise.prepare(step)
        self._indices.prepare(step)
        if self._graph is None:
            self.step(step)  # makes the sums, so that the graph finds them at their place
            assert self._sums is not None
            summed = list(self._summed_steps)
            self._graph = capture(lambda: self._chunk(step), [*self.state.tensors(), self._sums])
            self._summed_steps = summed
            for offset in range(1, CHUNK):
                self.step(step + offset)
            return CHUNK
        self._graph.replay()
        self._count(CHUNK)
        return CHUNK

    def _gather(self, step: int) -> list[Tensor]:
        indices = self._flat_indices(step)
        return [column.index_select(0, indices) for column in vars(self._columns).values()]

    def _flat_indices(self, step: int) -> Tensor:
        return self._indices(step).reshape(-1)

    def _chunk(self, first: int) -> None:
        for offset in range(CHUNK):
            self.step(first + offset)

    def step(self, step: int) -> dict[str, Tensor]:
        """Take gradient step `step` (counted from 0); returns its diagnostics, `[S]` each, on the device."""
        self.state, diagnostics = self._update(self.state, self.batch(step), self._noise(step))
        values = torch.stack(list(diagnostics.values()))
        if self._sums is None or self._latest is None:
            self._names, self._latest = tuple(diagnostics), values
            self._sums = values.expand(len(Reader), *values.shape).clone()
        else:
            self._sums += values
            self._latest.copy_(values)
        self._count(1)
        return diagnostics

    def _count(self, steps: int) -> None:
        self._summed_steps = [before + steps for before in self._summed_steps]

    def latest_diagnostics(self) -> dict[str, Tensor]:
        """The last step's diagnostics, `[S]` each, on the device."""
        return {} if self._latest is None else dict(zip(self._names, self._latest.clone(), strict=True))

    def drain_diagnostics(self, reader: Reader = Reader.EVALUATION) -> dict[str, list[float]]:
        """Each diagnostic's mean since `reader`'s last call, one number per seed. Synchronises."""
        if self._sums is None or not self._summed_steps[reader]:
            return {}
        means = (self._sums[reader] / self._summed_steps[reader]).tolist()
        self._sums[reader].zero_()
        self._summed_steps[reader] = 0
        return dict(zip(self._names, means, strict=True))

    def state_dict(self) -> dict[str, Any]:
        """Everything that the following steps and diagnostics depend on, sharing memory with the engine.

        The streams of indices and noise are functions of (seed, step) and have no state.
        """
        summed = {"steps": list(self._summed_steps), "names": list(self._names)}
        if self._sums is not None and self._latest is not None:
            summed |= {"sums": self._sums, "latest": self._latest}
        return {"train_state": self.state.state_dict(), "diagnostics": summed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`, what `state_dict` gave on any device.

        Raises:
            ConfigError: it is of other networks or another number of seeds.
        """
        misfit = "This training state does not fit the engine: "
        try:
            theirs = TrainState(**state["train_state"])
            if [t.shape for t in theirs.tensors()] != [t.shape for t in self.state.tensors()]:
                raise ConfigError(misfit + "its tensors have other shapes.")
            self.state.copy_(theirs)
            summed = state["diagnostics"]
            self._names, self._summed_steps = tuple(summed["names"]), list(summed["steps"])
            for mine in ("sums", "latest"):
                kept = getattr(self, f"_{mine}")
                if mine not in summed:
                    setattr(self, f"_{mine}", None)
                elif kept is None:
                    setattr(self, f"_{mine}", summed[mine].to(self.device, copy=True))
                else:
                    kept.copy_(summed[mine])  # a captured graph adds to it where it lies
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ConfigError(f"{misfit}{error}.") from error

    def finite_seeds(self) -> list[bool]:
        """Whether each seed's parameters are all finite. Synchronises."""
        flags: list[bool] = self.state.finite().tolist()
        return flags

    @torch.no_grad()
    def act(self, observations: Tensor) -> Tensor:
        """Deterministic actions of every seed at its own raw observations, `[S, E, O]` -> `[S, E, A]`."""
        normalized = self._normalize(observations.to(self.device, torch.float32))
        return act(self.state.parameters, normalized, self.actions)

    @torch.no_grad()
    def sample_actions(self, observations: Tensor, normals: Tensor) -> Tensor:
        """Actions drawn from every seed's policy at its own raw observations; discrete ones are greedy.

        Args:
            observations: `[S, E, O]`, on any device.
            normals: `[S, E, A]` standard normal numbers, on the engine's device.

        Returns:
            `[S, E, A]`, on the engine's device.
        """
        if isinstance(self.actions, DiscreteActions):
            return self.act(observations)
        normalized = self._normalize(observations.to(self.device, torch.float32))
        policy = actor_distribution(self.state.parameters["actor"], normalized, self.actions)
        return self.actions.from_unit(torch.addcmul(policy.mean, policy.log_std.exp(), normals).tanh())

    def policy(self, position: int) -> dict[str, NDArray[np.float32]]:
        """What `act` computes with, for the seed at `position` of the batch: see `records/policy.py`."""
        network = self.state.parameters["critics" if self.discrete else "actor"]
        tensors = {
            name: each[position] if name.endswith("weight") else each[position].squeeze(-2)
            for name, each in network.items()
        }
        tensors |= {"observation_mean": self._mean, "observation_scale": self._inverse_std}
        if isinstance(self.actions, ActionBox):
            tensors["action_low"] = self.actions.centre - self.actions.half_range
            tensors["action_high"] = self.actions.centre + self.actions.half_range
        return {name: tensor.numpy(force=True).copy() for name, tensor in tensors.items()}

    def seconds_per_step(self, steps: int = 8) -> float:
        """The time of a gradient step. Afterwards training is where it was."""
        kept = self.state.clone()
        for step in range(2):
            self.step(step)
        self.synchronize()
        start = time.perf_counter()
        for step in range(steps):
            self.step(step)
        self.synchronize()
        seconds = (time.perf_counter() - start) / steps
        for reader in Reader:
            self.drain_diagnostics(reader)
        self.state.copy_(kept)
        return seconds

    def _normalize(self, observations: Tensor) -> Tensor:
        return (observations - self._mean) * self._inverse_std

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
