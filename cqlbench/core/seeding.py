"""One seed -> named, independent random streams.

Nothing in cqlbench uses a global generator, except a `CQLLoss`'s actor, which draws as torchrl's actors do.

A stream is addressed by `(seed, purpose, *counters)`, so it can be drawn again at any time without a saved
generator state, and a seed's numbers do not depend on which other seeds run beside it.
"""

import enum
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


class Purpose(enum.StrEnum):
    """What a stream is for. The name is part of the stream's address: renaming one changes its numbers."""

    INIT = "init"
    BATCHES = "batches"
    NOISE = "noise"
    ENVIRONMENT = "environment"
    EVALUATION = "evaluation"
    COLLECTION = "collection"
    ONLINE_BATCHES = "online-batches"
    BOOTSTRAP = "bootstrap"
    SWEEP = "sweep"


def _sequence(seed: int, purpose: Purpose, counters: tuple[int, ...]) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(zlib.crc32(purpose.encode()), *counters))


def numpy_generator(seed: int, purpose: Purpose, *counters: int) -> np.random.Generator:
    """The stream `(seed, purpose, *counters)` as a numpy generator."""
    return np.random.default_rng(_sequence(seed, purpose, counters))


def torch_generator(
    seed: int, purpose: Purpose, *counters: int, device: "torch.device | str" = "cpu"
) -> "torch.Generator":
    """The stream `(seed, purpose, *counters)` as a torch generator on `device`.

    Numbers agree between machines for one kind of device; CPU and CUDA generators differ from each other.
    """
    import torch  # here, since reports draw bootstrap samples and need no torch

    entropy = int(_sequence(seed, purpose, counters).generate_state(1, np.uint64)[0])
    return torch.Generator(device=device).manual_seed(entropy >> 1)


def environment_seeds(seed: int, purpose: Purpose, count: int, *counters: int) -> list[int]:
    """`count` 31-bit seeds for environments, one each."""
    words = _sequence(seed, purpose, counters).generate_state(count, np.uint32)
    return [int(word >> 1) for word in words]
