"""Seed-batched ReLU networks as pure functions of their parameters. Every parameter has a leading S."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

Params = dict[str, Tensor]
"""`{layer}.weight` `[S, (K,) in, out]` and `{layer}.bias` `[S, (K,) 1, out]`, layers counted from 0."""


def depth(params: Params) -> int:
    """Number of linear layers."""
    return len(params) // 2


def mlp(params: Params, inputs: Tensor) -> Tensor:
    """A ReLU MLP, one batched matrix product per layer.

    Args:
        params: parameters with batch dimensions `…` (`[S]` or `[S, K]`).
        inputs: `[…, R, in]`, the same batch dimensions.

    Returns:
        `[…, R, out]`.
    """
    hidden = inputs
    for layer in range(depth(params)):
        if layer:
            hidden = functional.relu(hidden)
        hidden = affine(hidden, params[f"{layer}.weight"], params[f"{layer}.bias"])
    return hidden


def affine(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`inputs @ weight + bias` over all leading dimensions, as one `baddbmm`."""
    out = torch.baddbmm(bias.flatten(0, -3), inputs.flatten(0, -3), weight.flatten(0, -3))
    return out.view(*weight.shape[:-2], *out.shape[-2:])


def init_mlp(
    sizes: Sequence[int],
    generators: Sequence[torch.Generator],
    *,
    members: int = 0,
    orthogonal: bool,
    last_gain: float = 0.01,
) -> Params:
    """Fresh parameters; each seed draws from its own generator, so it starts alike in any company.

    Args:
        sizes: input size, hidden sizes, output size.
        generators: one per seed, `S`.
        members: K; 0 leaves the ensemble dimension out.
        orthogonal: orthogonal weights with gain √2 and zero biases (CORL `orthogonal_init`); otherwise
            `nn.Linear`'s uniform init, and Xavier's for the last layer.
        last_gain: gain of the last layer, whose bias is zero either way.
    """
    seeds = [
        [_init_one(sizes, generator, orthogonal, last_gain) for _ in range(max(members, 1))]
        for generator in generators
    ]
    names = seeds[0][0].keys()
    stacked = {
        name: torch.stack([torch.stack([member[name] for member in seed]) for seed in seeds])
        for name in names
    }
    return stacked if members else {name: tensor.squeeze(1) for name, tensor in stacked.items()}


def _init_one(sizes: Sequence[int], generator: torch.Generator, orthogonal: bool, last_gain: float) -> Params:
    params = {}
    last = len(sizes) - 2
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        weight = torch.empty(fan_out, fan_in)
        bias = torch.zeros(1, fan_out)
        if orthogonal:
            gain = last_gain if layer == last else 2**0.5
            torch.nn.init.orthogonal_(weight, gain=gain, generator=generator)
        elif layer == last:
            torch.nn.init.xavier_uniform_(weight, gain=last_gain, generator=generator)
        else:
            bound = fan_in**-0.5
            weight.uniform_(-bound, bound, generator=generator)
            bias.uniform_(-bound, bound, generator=generator)
        params[f"{layer}.weight"] = weight.T.contiguous()
        params[f"{layer}.bias"] = bias
    return params
