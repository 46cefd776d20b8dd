"""Batch indices and noise of every gradient step, drawn ahead in chunks.

What seed k gets at step t is a function of (k, t) alone: no generator state needs saving, and the other seeds
of the batch change nothing.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from cqlbench.algorithms.algorithm import Draw
from cqlbench.core.seeding import Purpose, torch_generator

CHUNK = 16
"""Steps drawn at once. Part of a stream's definition: changing it changes every run's numbers."""

EXPLORATION_CHUNK = 256
"""Steps of collection drawn at once. Part of a stream's definition as well."""


class NoiseStream:
    """`noise(step)` for a seed batch: the random numbers that an algorithm draws, by name.

    What is drawn at each step: the normals in their order, then the uniforms.
    """

    def __init__(self, seeds: Sequence[int], draws: Mapping[str, Draw], device: torch.device) -> None:
        self._seeds = tuple(seeds)
        self._device = device
        self._chunk = -1
        # A tensor of its own for each name, so that nothing that reshapes a step's has to copy it.
        self._drawn: dict[str, dict[str, Tensor]] = {
            kind: {
                name: torch.empty(CHUNK, len(seeds), *draw.shape, device=device)
                for name, draw in draws.items()
                if draw.kind == kind
            }
            for kind in ("normal", "uniform")
        }
        named = {name: numbers for drawn in self._drawn.values() for name, numbers in drawn.items()}
        self._noise = [{name: numbers[at] for name, numbers in named.items()} for at in range(CHUNK)]

    def __call__(self, step: int) -> dict[str, Tensor]:
        """The noise of gradient step `step`, counted from 0. Valid until the next chunk is drawn."""
        return self._noise[self.prepare(step)]

    def prepare(self, step: int) -> int:
        """Draw the chunk of `step`, unless it is drawn; returns the step's place in it."""
        chunk, offset = divmod(step, CHUNK)
        if chunk != self._chunk:
            self._draw(chunk)
            self._chunk = chunk
        return offset

    def _draw(self, chunk: int) -> None:
        generators = [
            torch_generator(seed, Purpose.NOISE, chunk, device=self._device) for seed in self._seeds
        ]
        for kind, drawn in self._drawn.items():
            sizes = [numbers[0, 0].numel() for numbers in drawn.values()]
            together = torch.empty(len(generators), CHUNK, sum(sizes), device=self._device)
            for of_seed, generator in zip(together, generators, strict=True):
                if kind == "normal":
                    of_seed.normal_(generator=generator)
                else:
                    of_seed.uniform_(-1, 1, generator=generator)
            for numbers, part in zip(drawn.values(), together.split_with_sizes(sizes, dim=2), strict=True):
                numbers.copy_(part.transpose(0, 1).view(numbers.shape))


class ExplorationStream:
    """Noise and uniform actions of online collection, as functions of (seed, step).

    A step takes one frame in each of a seed's `E` environments. Drawn on the CPU everywhere: which actions
    are taken depends as little as can be on where the policy computes.
    """

    def __init__(
        self, seeds: Sequence[int], environments: int, action_size: int, device: torch.device
    ) -> None:
        self._seeds, self._device = tuple(seeds), device
        self._shape = (EXPLORATION_CHUNK, environments, action_size)
        self._drawn = functools.lru_cache(maxsize=1)(self._draw)

    def normals(self, step: int) -> Tensor:
        """`[S, E, A]` on the device, of the step counted from 0."""
        return self._at(0, torch.randn, step)

    def uniforms(self, step: int) -> Tensor:
        """`[S, E, A]` in [0, 1) on the device, of the step counted from 0."""
        return self._at(1, torch.rand, step)

    def _at(self, kind: int, draw: Callable[..., Tensor], step: int) -> Tensor:
        chunk, offset = divmod(step, EXPLORATION_CHUNK)
        return self._drawn(kind, draw, chunk)[offset]

    def _draw(self, kind: int, draw: Callable[..., Tensor], chunk: int) -> Tensor:
        generators = (torch_generator(seed, Purpose.COLLECTION, kind, chunk) for seed in self._seeds)
        return torch.stack([draw(self._shape, generator=each) for each in generators], 1).to(self._device)


class IndexStream:
    """`indices(step)`: row numbers `[S, B]`, uniform with replacement over `rows`, each seed with its own.

    With a `context` of L rows they are `[S, B · L]`: each drawn row and those after it, up to the last.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        batch_size: int,
        rows: int,
        device: torch.device,
        purpose: Purpose = Purpose.BATCHES,
        context: int = 1,
    ) -> None:
        self._seeds, self._purpose = tuple(seeds), purpose
        self._rows = rows
        self._following = torch.arange(context, device=device)
        self._device = device
        self._chunk = -1
        self._indices = torch.empty(CHUNK, len(seeds), batch_size, dtype=torch.int64, device=device)

    def __call__(self, step: int) -> Tensor:
        """Indices of gradient step `step`, counted from 0. Valid until the next chunk is drawn."""
        indices = self._indices[self.prepare(step)]
        if len(self._following) == 1:
            return indices
        return (indices.unsqueeze(-1) + self._following).clamp(max=self._rows - 1).flatten(1)

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
