"""What the operations share: where they can be used, and how their CUDA form is found."""

import importlib.util
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor


def usable(tensor: Tensor) -> bool:
    """Whether `tensor` is where these operations are."""
    return tensor.device.type == "cuda" and _has_triton()


def rounds(tensor: Tensor) -> bool:
    """Whether matrix products of `tensor` may round their factors to TF32 there."""
    return usable(tensor) and torch.get_float32_matmul_precision() != "highest"


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def on_cuda(operation: Any) -> None:
    """Let the kernels' function of the same name compute `operation` on CUDA."""
    name = operation._name

    def call(*arguments: Any) -> Any:
        from cqlbench.algorithms.gpu import kernels  # imports Triton, which comes with CUDA

        return getattr(kernels, name)(*arguments)

    register: Callable[..., Any] = operation.register_kernel("cuda")
    register(call)
