"""How fast the device computes at the time: what a run's speed is to be compared with."""

import time
from contextlib import nullcontext

import torch

from cqlbench.core.devices import one_thread

_SIZES = {"cpu": 128, "cuda": 2048}
"""Of the square matrices: some 100 µs a product, and few enough numbers for a core's own cache."""
_AT_ONCE = 10
_SECONDS = 0.02


class ProductRate:
    """Float32 matrix products per second, measured now and then while a run trains.

    A machine that does other work slows gradient steps and products alike. On a CPU one thread computes them.
    """

    def __init__(self, device: torch.device) -> None:
        size = _SIZES[device.type]
        self._device = device
        self._factor = torch.full((size, size), 1 / size, device=device)
        self._product = torch.empty_like(self._factor)
        self._count, self._seconds = 0, 0.0

    def measure(self) -> None:
        """Multiply for some 20 ms."""
        with one_thread() if self._device.type == "cpu" else nullcontext():
            self._multiply()  # the first ones find cold caches
            start, count = time.perf_counter(), 0
            while not count or time.perf_counter() - start < _SECONDS:
                self._multiply()
                count += _AT_ONCE
            self._count += count
            self._seconds += time.perf_counter() - start

    @property
    def per_second(self) -> float | None:
        """Mean over all measurements; `None` before the first."""
        return self._count / self._seconds if self._seconds else None

    def _multiply(self) -> None:
        for _ in range(_AT_ONCE):
            torch.mm(self._factor, self._factor, out=self._product)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
