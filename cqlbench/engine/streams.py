"""Batch indices and noise of every gradient step, drawn ahead in chunks.

What seed k gets at step t is a function of (k, t) alone: no generator state needs saving, and the other seeds
of the batch change nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cqlbench.algorithms.config import CQLConfig
from cqlbench.algorithms.cql.losses import Noise
from cqlbench.core.seeding import Purpose, torch_generator

CHUNK = 16
"""Steps drawn at once. Part of a stream's definition: changing it changes every run's numbers."""

EXPLORATION_CHUNK = 256
"""Steps of collection drawn at once. Part of a stream's definition as well."""

_KINDS = ("normals", "uniforms")


@dataclass(frozen=True)
class NoiseShape:
    """Sizes of one step's noise: B, N (0 without a conservative term), A, and next actions per target."""

    batch_size: int
    proposals: int
    action_size: int
    target_actions: int = 1

    @classmethod
    def of(cls, config: CQLConfig, action_size: int) -> "NoiseShape":
        """What `config` draws per step."""
        proposals = config.proposals if config.conservative_weight else 0
        targets = config.proposals if config.max_q_backup else 1
        return cls(config.batch_size, proposals, action_size, targets)


class NoiseStream:
    """`noise(step)` for a seed batch; the uniform part is in [-1, 1)."""

    def __init__(self, seeds: Sequence[int], shape: NoiseShape, device: torch.device) -> None:
        self._seeds = tuple(seeds)
        self._shape = shape
        self._device = device
        self._chunk = -1
        rows = shape.batch_size * shape.proposals * shape.action_size
        single = shape.batch_size * shape.action_size
        S = len(self._seeds)
        self._parts = [rows, rows, single, single * shape.target_actions]
        self._normals = torch.empty(CHUNK, S, sum(self._parts), device=device)
        self._uniforms = torch.empty(CHUNK, S, rows, device=device)

    def __call__(self, step: int) -> Noise:
        """The noise of gradient step `step`, counted from 0. Valid until the next chunk is drawn."""
        offset = self.prepare(step)
        B, N, A = self._shape.batch_size, self._shape.proposals, self._shape.action_size
        S = len(self._seeds)
        current, following, actor, target = torch.split(self._normals[offset], self._parts, dim=1)
        return Noise(
            random=self._uniforms[offset].view(S, B, N, A),
            current=current.view(S, B, N, A),
            next=following.view(S, B, N, A),
            actor=actor.view(S, B, A),
            target=target.view(S, B, self._shape.target_actions, A),
        )

    def prepare(self, step: int) -> int:
        """Draw the chunk of `step`, unless it is drawn; returns the step's place in it."""
        chunk, offset = divmod(step, CHUNK)
        if chunk != self._chunk:
            self._draw(chunk)
            self._chunk = chunk
        return offset

    def _draw(self, chunk: int) -> None:
        for position, seed in enumerate(self._seeds):
            generator = torch_generator(seed, Purpose.NOISE, chunk, device=self._device)
            shape = self._normals[:, position].shape
            self._normals[:, position] = torch.randn(shape, generator=generator, device=self._device)
            self._uniforms[:, position].uniform_(-1, 1, generator=generator)


class ExplorationStream:
    """Noise and uniform actions of online collection, as functions of (seed, step).

    A step takes one frame in each of a seed's `E` environments. Drawn on the CPU everywhere: which actions
    are taken depends as little as can be on where the policy computes.
    """

    def __init__(
        self, seeds: Sequence[int], environments: int, action_size: int, device: torch.device
    ) -> None:
        self._seeds = tuple(seeds)
        self._shape = (EXPLORATION_CHUNK, len(seeds), environments, action_size)
        self._device = device
        self._drawn: dict[str, tuple[int, Tensor]] = {}

    def normals(self, step: int) -> Tensor:
        """`[S, E, A]` on the device, of the step counted from 0."""
        return self._at(step, "normals")

    def uniforms(self, step: int) -> Tensor:
        """`[S, E, A]` in [0, 1) on the device, of the step counted from 0."""
        return self._at(step, "uniforms")

    def _at(self, step: int, kind: str) -> Tensor:
        chunk, offset = divmod(step, EXPLORATION_CHUNK)
        number, drawn = self._drawn.get(kind, (-1, None))
        if drawn is None or number != chunk:
            drawn = torch.empty(self._shape)
            for position, seed in enumerate(self._seeds):
                generator = torch_generator(seed, Purpose.COLLECTION, _KINDS.index(kind), chunk)
                shape = drawn[:, position].shape
                draw = torch.randn if kind == "normals" else torch.rand
                drawn[:, position] = draw(shape, generator=generator)
            drawn = drawn.to(self._device)
            self._drawn[kind] = chunk, drawn
        return drawn[offset]


class IndexStream:
    """`indices(step)`: row numbers `[S, B]`, uniform with replacement over `rows`, each seed with its own."""

    def __init__(
        self,
        seeds: Sequence[int],
        batch_size: int,
        rows: int,
        device: torch.device,
        purpose: Purpose = Purpose.BATCHES,
    ) -> None:
        self._seeds, self._purpose = tuple(seeds), purpose
        self._rows = rows
        self._device = device
        self._chunk = -1
        self._indices = torch.empty(CHUNK, len(seeds), batch_size, dtype=torch.int64, device=device)

    def __call__(self, step: int) -> Tensor:
        """Indices of gradient step `step`, counted from 0. Valid until the next chunk is drawn."""
        return self._indices[self.prepare(step)]

    def prepare(self, step: int) -> int:
        """Draw the chunk of `step`, unless it is drawn; returns the step's place in it."""
        chunk, offset = divmod(step, CHUNK)
        if chunk != self._chunk:
            for position, seed in enumerate(self._seeds):
                # Drawn on the CPU everywhere: which rows a seed sees does not depend on where it trains.
                generator = torch_generator(seed, self._purpose, chunk)
                drawn = torch.randint(self._rows, (CHUNK, self._indices.shape[2]), generator=generator)
                self._indices[:, position] = drawn.to(self._device)
            self._chunk = chunk
        return offset
