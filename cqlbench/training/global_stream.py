"""Torch's global random stream, lent to one trainer at a time.

Of ours, only a `CQLLoss`'s actor draws from it, as torchrl's losses, buffers and policies do. A trainer with
a seed keeps a state of its own, in place only while it trains, so two trainers never share numbers.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class GlobalStream:
    """What torch's global generators (CPU and CUDA) hold while one trainer runs.

    Args:
        seed: starts the stream as `torch.manual_seed(seed)` would; `None` uses whatever is there, as torchrl
            does, until a state is loaded. Numpy's and Python's generators are left alone.
    """

    def __init__(self, seed: int | None) -> None:
        self._kept: list[Tensor] | None = None
        self._in_place = False
        if seed is not None:
            devices = ["cpu", *(f"cuda:{index}" for index in _gpus())]
            self._kept = [torch.Generator(device).manual_seed(seed).get_state() for device in devices]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within, torch's global generators are this stream; afterwards they are what they were."""
        if self._kept is None:
            yield
            return
        with torch.random.fork_rng(devices=_gpus()):
            _put(self._kept)
            self._in_place = True
            try:
                yield
            finally:
                self._kept, self._in_place = _take(), False

    def state_dict(self) -> dict[str, Any]:
        """The stream's present state."""
        return {"states": _take() if self._kept is None or self._in_place else self._kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; devices that this machine lacks are passed over."""
        self._kept = [kept.cpu() for kept in state["states"]]
        if self._in_place:
            _put(self._kept)


def _gpus() -> range:
    # A process that has not touched its GPUs is not made to by us: that costs memory on each.
    return range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)  # type: ignore[no-untyped-call]


def _take() -> list[Tensor]:
    return [generator.get_state() for generator in _generators()]


def _put(states: list[Tensor]) -> None:
    for generator, state in zip(_generators(), states, strict=False):
        generator.set_state(state)


def _generators() -> list[torch.Generator]:
    return [torch.default_generator, *(torch.cuda.default_generators[index] for index in _gpus())]
