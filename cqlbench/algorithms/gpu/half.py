"""ReLU networks on a GPU with activations of 16 bits, where products may round to TF32.

TF32 rounds the factors of a product to 10 bits of mantissa. float16 has those 10 bits in half of the memory,
and memory is what a step on a GPU waits for: so activations are rounded as they are stored, not as they are
read. float16's smaller range is made up for: activations saturate at 65,504, and gradients are scaled to what
the largest of a network's output needs, so that what is lost is below 2⁻³⁰ of it. The first layer's inputs,
every sum and all parameters are float32.

Shape letters: S seeds, K members of a seed's ensemble, G = S·K networks, R rows, I inputs, N outputs.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cqlbench.algorithms.gpu.operations import on_cuda

_LARGEST = 65504.0
TOP = 64.0
"""What the largest gradient of an output is scaled to: a factor of a thousand may come on the way back."""
LEAST = 1e-30
MANY = 1024
"""More rows than these are worth a copy of the weights in float16."""


class HalfNetwork(torch.autograd.Function):
    """`outputs(inputs, *parameters) -> [G, R, N]` of a ReLU MLP.

    `inputs` is `[S, R, I]`, shared by a seed's K networks; `parameters` are each layer's weight
    `[G, in, out]` and bias `[G, 1, out]`.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, *parameters: Tensor) -> Tensor:
        """Keeps the weights as they were multiplied, and the activations."""
        weights = list(parameters[::2])
        if inputs.shape[1] > MANY:
            weights[1:] = [weight.half() for weight in weights[1:]]
        activations = [inputs.contiguous()]
        for at, (weight, bias) in enumerate(zip(weights, parameters[1::2], strict=True)):
            activations.append(layer(activations[-1], weight, bias, at < len(weights) - 1))
        values = activations.pop()
        ctx.save_for_backward(*weights, *activations)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of those arguments that need one, float32."""
        needs_inputs, *needs = ctx.needs_input_grad
        (of_values,), saved = gradients, ctx.saved_tensors
        weights, activations = saved[: len(saved) // 2], saved[len(saved) // 2 :]
        gradient, unit, sums = scaled(of_values)
        found: list[Tensor | None] = [None] * len(needs)
        for at in reversed(range(len(weights))):
            if needs[2 * at]:
                found[2 * at] = weight_back(activations[at], gradient, unit)
            if needs[2 * at + 1]:
                found[2 * at + 1] = sums
            if at:
                gradient, sums = layer_back(gradient, unit, weights[at], activations[at])
        of_inputs = None
        if needs_inputs:
            each = torch.bmm(gradient * unit, weights[0].transpose(1, 2))  # [G, R, I]
            of_inputs = each.view(len(activations[0]), -1, *each.shape[1:]).sum(1)
        return of_inputs, *found


@torch.library.custom_op("cqlbench::layer", mutates_args=(), device_types="cpu")
def layer(inputs: Tensor, weight: Tensor, bias: Tensor, hidden: bool) -> Tensor:
    """A layer, `[S, R, I]` or `[G, R, I]` -> `[G, R, N]`: rectified float16 if `hidden`, else float32.

    Args:
        inputs: float32 of a seed's K networks, or float16 of each network.
        weight: `[G, I, N]`, float32 or of the same type, rounded to it.
        bias: `[G, 1, N]` float32.
        hidden: whether it is rectified.
    """
    of_each = inputs.float().repeat_interleave(len(weight) // len(inputs), 0)
    out = torch.baddbmm(bias, of_each, weight.to(inputs.dtype).float())
    return out.relu().clamp(max=_LARGEST).half() if hidden else out


@torch.library.custom_op("cqlbench::layer_back", mutates_args=(), device_types="cpu")
def layer_back(gradient: Tensor, unit: Tensor, weight: Tensor, activation: Tensor) -> tuple[Tensor, Tensor]:
    """Back through a layer and the ReLU below it.

    Args:
        gradient: of the layer's outputs, in units, `[G, R, N]` float16.
        unit: `[G, 1, 1]` float32.
        weight: `[G, I, N]` float32, or float16.
        activation: the layer's inputs, `[G, R, I]` float16.

    Returns:
        The gradient below the ReLU in units, `[G, R, I]` float16, and its sum over rows, `[G, 1, I]` float32.
    """
    below = torch.bmm(gradient.float(), weight.half().float().transpose(1, 2))
    below = below.masked_fill(activation <= 0, 0.0)
    return below.clamp(-_LARGEST, _LARGEST).half(), below.sum(1, keepdim=True) * unit


@torch.library.custom_op("cqlbench::weight_back", mutates_args=(), device_types="cpu")
def weight_back(inputs: Tensor, gradient: Tensor, unit: Tensor) -> Tensor:
    """The gradient of a layer's weight, `[G, I, N]` float32.

    Args:
        inputs: `[S, R, I]` float32 or `[G, R, I]` float16, as of `layer`.
        gradient: of the layer's outputs, in units, `[G, R, N]` float16.
        unit: `[G, 1, 1]` float32.
    """
    of_each = inputs.float().repeat_interleave(len(gradient) // len(inputs), 0)
    return torch.bmm(of_each.transpose(1, 2), gradient.float()) * unit


@torch.library.custom_op("cqlbench::scaled", mutates_args=(), device_types="cpu")
def scaled(gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A float32 gradient `[G, R, N]` in units that float16 has room for.

    Returns:
        The gradient in units, float16; each network's unit, `[G, 1, 1]`; the gradient's sum over rows,
        `[G, 1, N]` float32.
    """
    unit = gradient.abs().amax((1, 2), keepdim=True).clamp(min=LEAST) / TOP
    return (gradient / unit).half(), unit, gradient.sum(1, keepdim=True)


for _operation in (layer, layer_back, weight_back, scaled):
    on_cuda(_operation)


@layer.register_fake
def _(inputs: Tensor, weight: Tensor, bias: Tensor, hidden: bool) -> Tensor:  # noqa: ARG001
    shape = len(weight), inputs.shape[1], weight.shape[2]
    return inputs.new_empty(shape, dtype=torch.float16 if hidden else torch.float32)


@layer_back.register_fake
def _(gradient: Tensor, unit: Tensor, weight: Tensor, activation: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    return torch.empty_like(activation), unit.new_empty(len(activation), 1, activation.shape[2])


@weight_back.register_fake
def _(inputs: Tensor, gradient: Tensor, unit: Tensor) -> Tensor:
    return unit.new_empty(len(gradient), inputs.shape[2], gradient.shape[2])


@scaled.register_fake
def _(gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    G, _, N = gradient.shape
    return (
        torch.empty_like(gradient, dtype=torch.float16),
        gradient.new_empty(G, 1, 1),
        gradient.new_empty(G, 1, N),
    )
