"""Seed-batched ReLU networks as pure functions of their parameters. Every parameter has a leading S."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cqlbench.algorithms.gpu.half import HalfNetwork
from cqlbench.algorithms.gpu.operations import rounds

Params = dict[str, Tensor]
"""`{layer}.weight` `[S, (K,) in, out]` and `{layer}.bias` `[S, (K,) 1, out]`, layers counted from 0; where a
hidden layer is normalised, also its `{layer}.norm.weight` and `{layer}.norm.bias`, `[S, (K,) 1, out]`."""

_NORM_EPSILON = 1e-6
"""Flax's default of a layer norm, which ReBRAC's code uses."""


def depth(params: Params) -> int:
    """Number of linear layers."""
    return sum(f"{layer}.weight" in params for layer in range(len(params)))


def mlp(params: Params, inputs: Tensor, factors: Sequence[Tensor] = ()) -> Tensor:
    """A ReLU MLP, one batched matrix product per layer, with layer norms after the ReLUs where it has them.

    Inputs `[S, R, in]` may be rounded as `rounded_mlp` does, which can be differentiated once.

    Args:
        params: parameters with batch dimensions `…` (`[S]` or `[S, K]`).
        inputs: `[…, R, in]`, the same batch dimensions.
        factors: of the hidden layers' activations, `[…, R, hidden]` each: dropout's masks.

    Returns:
        `[…, R, out]`.
    """
    if inputs.dim() == 3 and not factors and can_round(params, inputs):
        return rounded_mlp(params, inputs)
    hidden = inputs
    for layer in range(depth(params)):
        if layer:
            hidden = functional.relu(hidden)
            if f"{layer - 1}.norm.weight" in params:
                hidden = functional.layer_norm(hidden, hidden.shape[-1:], eps=_NORM_EPSILON)
                scale, shift = params[f"{layer - 1}.norm.weight"], params[f"{layer - 1}.norm.bias"]
                hidden = torch.addcmul(shift, hidden, scale)
            if factors:
                hidden = hidden * factors[layer - 1]
        hidden = affine(hidden, params[f"{layer}.weight"], params[f"{layer}.bias"])
    return hidden


def can_round(params: Params, inputs: Tensor) -> bool:
    """Whether there is a `rounded_mlp` for these parameters on the device of `inputs`, and it may be used."""
    return rounds(inputs) and "0.norm.weight" not in params


def rounded_mlp(params: Params, inputs: Tensor) -> Tensor:
    """A ReLU MLP without layer norms on a GPU: see `gpu/half.py`. Can be differentiated once.

    Args:
        params: parameters `[S, (K,) …]`.
        inputs: `[S, R, in]`, of all K.

    Returns:
        `[S·K, R, out]`.
    """
    names = [f"{layer}.{part}" for layer in range(depth(params)) for part in ("weight", "bias")]
    out: Tensor = HalfNetwork.apply(inputs, *(params[name].flatten(0, -3) for name in names))  # type: ignore[no-untyped-call]
    return out


def affine(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`inputs @ weight + bias` over all leading dimensions, as one `baddbmm`."""
    out = torch.baddbmm(bias.flatten(0, -3), inputs.flatten(0, -3), weight.flatten(0, -3))
    return out.view(*weight.shape[:-2], *out.shape[-2:])


@dataclass(frozen=True)
class Init:
    """How an MLP begins.

    Attributes:
        orthogonal: orthogonal hidden weights with gain √2 and zero biases (CORL `orthogonal_init`); otherwise
            `nn.Linear`'s uniform init.
        last_gain: gain of the last layer's weights, orthogonal or Xavier's uniform, with zero biases;
        last_bound: or its weights and biases are uniform within ± this; without either it is a hidden one's.
        bias: of the hidden layers, in place of their own (EDAC: 0.1).
        fan_out: bound hidden weights by the layer's outputs, not its inputs, as CORL's vectorised critics do.
        norm: layer norms after the hidden layers.
    """

    orthogonal: bool = False
    last_gain: float | None = None
    last_bound: float | None = None
    bias: float | None = None
    fan_out: bool = False
    norm: bool = False


def init_mlp(
    sizes: Sequence[int], generators: Sequence[torch.Generator], init: Init, *, members: int = 0
) -> Params:
    """Fresh parameters; each seed draws from its own generator, so it starts alike in any company.

    Args:
        sizes: input size, hidden sizes, output size.
        generators: one per seed, `S`.
        init: how.
        members: K; 0 leaves the ensemble dimension out.
    """
    seeds = [[_init_one(sizes, generator, init) for _ in range(max(members, 1))] for generator in generators]
    names = seeds[0][0].keys()
    stacked = {
        name: torch.stack([torch.stack([member[name] for member in seed]) for seed in seeds])
        for name in names
    }
    return stacked if members else {name: tensor.squeeze(1) for name, tensor in stacked.items()}


def _init_one(sizes: Sequence[int], generator: torch.Generator, init: Init) -> Params:
    params = {}
    last = len(sizes) - 2
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        weight, bias = torch.empty(fan_out, fan_in), torch.zeros(1, fan_out)
        if init.orthogonal:
            gain = init.last_gain if layer == last and init.last_gain is not None else 2**0.5
            torch.nn.init.orthogonal_(weight, gain=gain, generator=generator)
        elif layer == last and init.last_gain is not None:
            torch.nn.init.xavier_uniform_(weight, gain=init.last_gain, generator=generator)
        else:
            bound = (fan_out if init.fan_out else fan_in) ** -0.5
            if layer == last and init.last_bound is not None:
                bound = init.last_bound
            weight.uniform_(-bound, bound, generator=generator)
            bias.uniform_(-bound, bound, generator=generator)
        if layer < last and init.bias is not None:
            bias.fill_(init.bias)
        params[f"{layer}.weight"] = weight.T.contiguous()
        params[f"{layer}.bias"] = bias
        if init.norm and layer < last:
            params[f"{layer}.norm.weight"], params[f"{layer}.norm.bias"] = torch.ones_like(bias), bias * 0
    return params
