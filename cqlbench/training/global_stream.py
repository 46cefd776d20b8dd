"""Torch's global random stream, lent to one trainer at a time.

Nothing of ours draws from it, but torchrl's losses, buffers and policies do. A trainer with a seed keeps a
state of its own and puts it in place only while it trains, so two trainers never share numbers.
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
            devices = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
            self._kept = [torch.Generator(device).manual_seed(seed).get_state() for device in devices]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within, torch's global generators are this stream; afterwards they are what they were."""
        if self._kept is None:
            yield
            return
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
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
        self._kept = [kept.clone() for kept in state["states"]][: 1 + torch.cuda.device_count()]
        if self._in_place:
            _put(self._kept)


def _take() -> list[Tensor]:
    states = [torch.default_generator.get_state()]
    if torch.cuda.is_available():
        states += [generator.get_state() for generator in torch.cuda.default_generators]
    return states


def _put(states: list[Tensor]) -> None:
    torch.default_generator.set_state(states[0])
    if torch.cuda.is_available():
        for generator, state in zip(torch.cuda.default_generators, states[1:], strict=False):
            generator.set_state(state)
