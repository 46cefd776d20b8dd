"""Many gradient steps as one CUDA graph: the host launches once, and the GPU never waits for it."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

_WARMUP = 2
"""Eager runs before capture, in which cuBLAS and autograd take their workspaces (torch.cuda.graph)."""


def capture(
    steps: Callable[[], object], changed: Sequence[Tensor], device: torch.device
) -> torch.cuda.CUDAGraph:
    """Record `steps` for replay; afterwards everything is as if it had not run.

    Args:
        steps: launches kernels on the current stream, always on the same memory, without synchronising.
        changed: every tensor that `steps` changes in place and whose value matters.
        device: where, with its number.

    Returns:
        A graph whose `replay()` does what `steps` does.
    """
    with _nothing_collected(), torch.cuda.device(device):
        saved = [tensor.clone() for tensor in changed]
        graph = torch.cuda.CUDAGraph()
        # A stream of our own: torch's default for captures belongs to whichever device captured first.
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(_WARMUP):
                steps()
        torch.cuda.current_stream(device).wait_stream(side)
        with torch.cuda.graph(graph, stream=side):
            steps()
        for tensor, value in zip(changed, saved, strict=True):
            tensor.copy_(value)
    return graph


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Collect garbage now, and none within: a graph that is freed during another's capture spoils it."""
    gc.collect()
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
