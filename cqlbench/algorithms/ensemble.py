"""Values of all critics of all seeds, with the backward pass written out.

The critics see 3N + 1 actions per state, so their activations are most of a step's memory traffic. Written
out, each activation is made once, rectified in place, and its gradient overwrites a buffer that is there
already. On a CPU the work is done in blocks whose activations fit the caches: a fifth of the step's time.

Shape letters: G = S·K critics, R rows, I inputs, H hidden.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_BLOCK_ROWS = 1024
_BLOCK_NUMBERS = 1 << 19
"""Rows, and numbers in one activation (2 MiB), of a block on a CPU; measured, flat from half to double."""


@dataclass(frozen=True)
class _Block:
    """Some rows of some critics."""

    critics: slice
    rows: slice


class EnsembleValues(torch.autograd.Function):
    """`values(inputs, first, *rest) -> [G, R, 1]`: ReLU networks as batched matrix products.

    `inputs` is `[G, R, I]`, its last column 1, so that `first`, `[G, I, H]`, holds weight and bias in one.
    `rest` is weight `[G, in, out]` and bias `[G, 1, out]` of each further layer.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, first: Tensor, *rest: Tensor) -> Tensor:
        """Keeps the rectified activations: where one is positive, the gradient passes."""
        blocks = _blocks(inputs, first)
        values = inputs.new_empty(*inputs.shape[:2], 1)
        kept: list[Tensor] = []
        for block in blocks:
            of = block.critics
            activation = torch.bmm(inputs[of, block.rows], first[of]).relu_()
            kept.append(activation)
            for weight, bias in zip(rest[0:-2:2], rest[1:-2:2], strict=True):
                activation = torch.baddbmm(bias[of], activation, weight[of]).relu_()
                kept.append(activation)
            values[of, block.rows] = torch.baddbmm(rest[-1][of], activation, rest[-2][of])
        ctx.save_for_backward(inputs, first, *rest, *kept)
        ctx.blocks, ctx.parameters = blocks, len(rest)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of those arguments that need one."""
        inputs, first, *saved = ctx.saved_tensors
        rest, kept = saved[: ctx.parameters], saved[ctx.parameters :]
        layers = len(rest) // 2
        needs_inputs, needs_first, *needs_rest = ctx.needs_input_grad
        of_inputs = torch.empty_like(inputs) if needs_inputs else None
        of_first = torch.zeros_like(first) if needs_first else None
        of_rest = [
            torch.zeros_like(parameter) if needed else None
            for parameter, needed in zip(rest, needs_rest, strict=True)
        ]
        for number, block in enumerate(ctx.blocks):
            of, rows = block.critics, block.rows
            activations = kept[number * layers : (number + 1) * layers]
            gradient = _through_hidden(gradients[0][of, rows], activations, rest, of_rest, of)
            if of_inputs is not None:
                of_inputs[of, rows] = torch.bmm(gradient, first[of].transpose(1, 2))
            if of_first is not None:
                _add_product(of_first[of], inputs[of, rows], gradient)
        return (of_inputs, of_first, *of_rest)


def _through_hidden(
    gradient: Tensor,
    activations: Sequence[Tensor],
    rest: Sequence[Tensor],
    found: Sequence[Tensor | None],
    of: slice,
) -> Tensor:
    """Back from a block's values to its first activation, adding to the parameters' gradients on the way."""
    spare: Tensor | None = None
    for layer in reversed(range(len(activations))):
        weight, activation = rest[2 * layer][of], activations[layer]
        of_weight, of_bias = found[2 * layer], found[2 * layer + 1]
        if of_weight is not None and of_bias is not None:
            _add_product(of_weight[of], activation, gradient)
            of_bias[of] += gradient.sum(1, keepdim=True)
        if layer == len(activations) - 1:
            below = gradient * weight.transpose(1, 2)  # an outer product: the layer has one output
        else:
            if spare is None or spare.shape != activation.shape:
                spare = torch.empty_like(activation)
            below = spare
            torch.bmm(gradient, weight.transpose(1, 2), out=below)
            spare = gradient
        torch.ops.aten.threshold_backward.grad_input(below, activation, 0, grad_input=below)
        gradient = below
    return gradient


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """`total += leftᵀ @ right`."""
    torch.baddbmm(total, left.transpose(1, 2), right, out=total)


def _blocks(inputs: Tensor, first: Tensor) -> list[_Block]:
    G, R, _ = inputs.shape
    if inputs.device.type != "cpu":
        return [_Block(slice(0, G), slice(0, R))]
    rows = min(R, _BLOCK_ROWS)
    critics = max(1, min(G, _BLOCK_NUMBERS // (rows * first.shape[2])))
    return [
        _Block(slice(g, min(g + critics, G)), slice(r, min(r + rows, R)))
        for g in range(0, G, critics)
        for r in range(0, R, rows)
    ]
