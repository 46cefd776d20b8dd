"""Torch's and numpy's global random streams, lent to one trainer at a time.

Of ours, only a `CQLLoss`'s actor draws from them, as torchrl's losses, buffers and policies do. A trainer
with a seed keeps states of its own, in place only while it trains, so two trainers never share numbers.
"""

# ruff: noqa: NPY002  # the one place that handles numpy's global generator

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

State = dict[str, Any]


class GlobalStream:
    """What torch's global generators (CPU and CUDA) and numpy's hold while one trainer runs.

    Args:
        seed: starts the streams as `torch.manual_seed(seed)` and `np.random.seed(seed)` would, for torchrl
            does so; `None` uses whatever is there, as torchrl does, until a state is loaded. Python's
            generator is left alone.
    """

    def __init__(self, seed: int | None) -> None:
        self._kept: State | None = None
        self._in_place = False
        if seed is not None:
            with _lent():
                for generator in _generators():
                    generator.manual_seed(seed)
                np.random.seed(seed % 2**32)
                self._kept = _take()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within, the global generators are this stream; afterwards they are what they were."""
        if self._kept is None:
            yield
            return
        with _lent():
            _put(self._kept)
            self._in_place = True
            try:
                yield
            finally:
                self._kept, self._in_place = _take(), False

    def state_dict(self) -> State:
        """The stream's present state."""
        return _take() if self._kept is None or self._in_place else self._kept

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from `state`; devices that this machine lacks are passed over."""
        self._kept = {**state, "states": [kept.cpu() for kept in state["states"]]}
        if self._in_place:
            _put(self._kept)


@contextmanager
def _lent() -> Iterator[None]:
    outer = np.random.get_state()
    with torch.random.fork_rng(devices=_gpus()):
        try:
            yield
        finally:
            np.random.set_state(outer)


def _gpus() -> range:
    # A process that has not touched its GPUs is not made to by us: that costs memory on each.
    return range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)  # type: ignore[no-untyped-call]


def _generators() -> list[torch.Generator]:
    return [torch.default_generator, *(torch.cuda.default_generators[index] for index in _gpus())]


def _take() -> State:
    numpy: Any = np.random.get_state(legacy=False)
    # A tensor for its array, of a kind that every way of saving knows.
    numpy["state"]["key"] = torch.from_numpy(numpy["state"]["key"].view(np.int32))
    return {"states": [generator.get_state() for generator in _generators()], "numpy": numpy}


def _put(state: State) -> None:
    for generator, kept in zip(_generators(), state["states"], strict=False):
        generator.set_state(kept)
    if "numpy" in state:  # older states lack it
        numpy = state["numpy"]
        key = numpy["state"]["key"].numpy().view(np.uint32)
        np.random.set_state({**numpy, "state": {**numpy["state"], "key": key}})
