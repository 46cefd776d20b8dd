"""Values of all critics of all seeds, with the backward pass written out.

The critics see 3N + 1 actions per state, so their activations are most of a step's memory traffic. Written
out, each activation is made once, rectified in place, and its gradient overwrites a buffer that is there
already; what is left beside the matrix products is a few per cent of them.

Shape letters: G = S·K critics, R rows, I inputs, H hidden.
"""

from typing import Any

import torch
from torch import Tensor


class EnsembleValues(torch.autograd.Function):
    """`values(inputs, first, *rest) -> [G, R, 1]`: ReLU networks as batched matrix products.

    `inputs` is `[G, R, I]`, its last column 1, so that `first`, `[G, I, H]`, holds weight and bias in one.
    `rest` is weight `[G, in, out]` and bias `[G, 1, out]` of each further layer.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, first: Tensor, *rest: Tensor) -> Tensor:
        """Keeps the rectified activations: where one is positive, the gradient passes."""
        hidden = [torch.bmm(inputs, first).relu_()]
        for weight, bias in zip(rest[0:-2:2], rest[1:-2:2], strict=True):
            hidden.append(torch.baddbmm(bias, hidden[-1], weight).relu_())
        ctx.save_for_backward(inputs, first, *rest, *hidden)
        ctx.layers = len(rest)
        return torch.baddbmm(rest[-1], hidden[-1], rest[-2])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of those arguments that need one."""
        (out,) = gradients
        inputs, first, *saved = ctx.saved_tensors
        rest, hidden = saved[: ctx.layers], saved[ctx.layers :]
        needs_inputs, needs_first, *needs_rest = ctx.needs_input_grad
        found: list[Tensor | None] = [None] * len(rest)
        spare: Tensor | None = None
        gradient = out
        for layer in reversed(range(len(hidden))):
            weight, activation = rest[2 * layer], hidden[layer]
            if needs_rest[2 * layer]:
                found[2 * layer] = torch.bmm(activation.transpose(1, 2), gradient)
                found[2 * layer + 1] = gradient.sum(1, keepdim=True)
            if layer == len(hidden) - 1:
                below = gradient * weight.transpose(1, 2)  # an outer product: the layer has one output
            else:
                fits = spare is not None and spare.shape == activation.shape
                below = spare if fits else torch.empty_like(activation)
                torch.bmm(gradient, weight.transpose(1, 2), out=below)
                spare = gradient
            torch.ops.aten.threshold_backward.grad_input(below, activation, 0, grad_input=below)
            gradient = below
        return (
            torch.bmm(gradient, first.transpose(1, 2)) if needs_inputs else None,
            torch.bmm(inputs.transpose(1, 2), gradient) if needs_first else None,
            *found,
        )
