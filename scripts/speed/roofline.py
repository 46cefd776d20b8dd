"""What a device could do at best: its own measured product rate and memory bandwidth."""

from dataclasses import dataclass

import torch

from speed.remote import timed
from speed.workload import Product

_REPEATS = 20


@dataclass(frozen=True)
class Peaks:
    """Measured on the device in the same run.

    Attributes:
        flops: floating-point operations per second of a large matrix product, in the precision of training.
        bandwidth: bytes per second of a large copy, reading and writing both counted.
    """

    flops: float
    bandwidth: float


def measure_peaks(device: torch.device, size: int = 8192) -> Peaks:
    """The device's rates on a `size × size` product and on a copy of `size²` numbers, best of many."""
    left = torch.randn(size, size, device=device)  # a GPU multiplies ones faster
    right, out = torch.randn_like(left), torch.empty_like(left)
    product = min(timed(lambda: torch.mm(left, right, out=out), 1, device) for _ in range(_REPEATS))
    copy = min(timed(lambda: out.copy_(left), 1, device) for _ in range(_REPEATS))
    return Peaks(2 * size**3 / product, 2 * left.numel() * left.element_size() / copy)


def bytes_moved(products: list[Product]) -> int:
    """Bytes that products must move if each operand is read once and each result written once, in float32."""
    return sum(
        4 * p.count * p.groups * (p.rows * p.inner + p.inner * p.columns + p.rows * p.columns)
        for p in products
    )


def roofline_seconds(products: list[Product], peaks: Peaks) -> float:
    """The least time that the products can take one after the other (Williams et al. 2009)."""
    return sum(max(p.flops / peaks.flops, bytes_moved([p]) / peaks.bandwidth) for p in products)
