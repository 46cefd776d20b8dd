"""Adam on all parameters of a network at once, for the seeds that are alive."""

import torch
from torch import Tensor

from cqlbench.algorithms.gpu.operations import on_cuda

BETAS = (0.9, 0.999)
EPSILON = 1e-8
"""Adam's published defaults (Kingma & Ba 2015, algorithm 1), which all CQL code uses."""


@torch.library.custom_op(
    "cqlbench::adam",
    mutates_args=("parameters", "first_moments", "second_moments"),
    device_types="cpu",
)
def adam(
    parameters: Tensor,
    gradients: Tensor,
    first_moments: Tensor,
    second_moments: Tensor,
    alive: Tensor,
    count: Tensor,
    rate: Tensor,
    decay: float,
) -> None:
    """One step in place, with AdamW's decoupled weight decay.

    Args:
        parameters: `[S, P]`.
        gradients: `[S, P]`; those of dead seeds may be no numbers.
        first_moments: `[S, P]`.
        second_moments: `[S, P]`.
        alive: `[S]` bool; nothing changes for the others.
        count: scalar: steps taken, this one included.
        rate: scalar, the learning rate.
        decay: AdamW's weight decay.
    """
    first = first_moments.lerp(gradients, 1 - BETAS[0])
    second = second_moments.lerp(gradients.square(), 1 - BETAS[1])
    corrections = [1 - beta ** count.double() for beta in BETAS]
    size = (rate / corrections[0]).float()
    moved = parameters * (1 - rate * decay) - size * first / (
        second.sqrt() / corrections[1].sqrt().float() + EPSILON
    )
    rows = alive.unsqueeze(1)
    for tensor, value in ((parameters, moved), (first_moments, first), (second_moments, second)):
        tensor.copy_(torch.where(rows, value, tensor))


on_cuda(adam)
