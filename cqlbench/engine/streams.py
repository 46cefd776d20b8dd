"""Batch indices and noise of every gradient step, drawn ahead in chunks.

What seed k gets at step t is a function of (k, t) alone: no generator state needs saving, and the other seeds
of the batch change nothing.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cqlbench.algorithms.algorithm import Draw
from cqlbench.core.seeding import Purpose, torch_generator

CHUNK = 16
"""Steps drawn at once. Part of a stream's definition: changing it changes every run's numbers."""

EXPLORATION_CHUNK = 256
"""Steps of collection drawn at once. Part of a stream's definition as well."""

_KINDS = ("normals", "uniforms")


class NoiseStream:
    """`noise(step)` for a seed batch: the random numbers that an algorithm draws, by name.

    Args:
        seeds: the seed batch.
        draws: what is drawn at each step; the normals in their order, then the uniforms.
        device: where.
    """

    def __init__(self, seeds: Sequence[int], draws: Mapping[str, Draw], device: torch.device) -> None:
        self._seeds = tuple(seeds)
        self._device = device
        self._chunk = -1
        self._draws = {
            kind: {name: draw.shape for name, draw in draws.items() if draw.kind == kind}
            for kind in ("normal", "uniform")
        }
        self._sizes = {
            kind: [math.prod(shape) for shape in shapes.values()] for kind, shapes in self._draws.items()
        }
        self._drawn = {
            kind: torch.empty(CHUNK, len(seeds), sum(sizes), device=device)
            for kind, sizes in self._sizes.items()
        }

    def __call__(self, step: int) -> dict[str, Tensor]:
        """The noise of gradient step `step`, counted from 0. Valid until the next chunk is drawn."""
        offset = self.prepare(step)
        return {
            name: part.view(len(self._seeds), *shape)
            for kind, shapes in self._draws.items()
            for (name, shape), part in zip(
                shapes.items(), torch.split(self._drawn[kind][offset], self._sizes[kind], dim=1), strict=True
            )
        }

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
            normals, uniforms = (self._drawn[kind][:, position] for kind in ("normal", "uniform"))
            normals[:] = torch.randn(normals.shape, generator=generator, device=self._device)
            uniforms.uniform_(-1, 1, generator=generator)


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
