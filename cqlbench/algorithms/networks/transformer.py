"""A decision transformer's network, as CORL's (corl-team/CORL@eeeeef2, algorithms/offline/dt.py).

Shape letters: S seeds, B sequences, L time steps, T = 3L tokens, D embedding, H heads, O observation,
A action.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from cqlbench.algorithms.networks.mlp import Params, affine

Drop = Callable[[str, Tensor], Tensor]
"""`drop(site, activations)`: dropout at a named place of the network."""


def blocks_of(params: Params) -> int:
    """Number of attention blocks."""
    return sum(name.endswith(".attend.weight") for name in params)


def init_transformer(
    sizes: tuple[int, int, int], blocks: int, steps: int, generators: Sequence[torch.Generator]
) -> Params:
    """Fresh parameters, each seed's from its own generator.

    Weights are normal with standard deviation 0.02 and biases 0, but the attention's joint projection begins
    as torch's `MultiheadAttention` does: uniform, by Xavier's rule.

    Args:
        sizes: O, A and D.
        blocks: attention blocks.
        steps: how many time steps have an embedding.
        generators: one per seed, `S`.
    """
    O, A, D = sizes  # noqa: E741
    shapes = {"observe": (O, D), "act": (A, D), "return": (1, D), "time": (steps, D)}
    for block in range(blocks):
        shapes[f"{block}.attend"], shapes[f"{block}.project"] = (D, 3 * D), (D, D)
        shapes[f"{block}.widen"], shapes[f"{block}.narrow"] = (D, 4 * D), (4 * D, D)
    shapes["head"] = (D, A)
    norms = ["tokens", *(f"{block}.norm{part}" for block in range(blocks) for part in (1, 2)), "out"]
    params: Params = {}
    for name, shape in shapes.items():
        weight = torch.empty(len(generators), *shape)
        for one, generator in zip(weight, generators, strict=True):
            if name.endswith("attend"):
                torch.nn.init.xavier_uniform_(one, generator=generator)
            else:
                one.normal_(0.0, 0.02, generator=generator)
        params[f"{name}.weight"] = weight
        if name != "time":
            params[f"{name}.bias"] = torch.zeros(len(generators), 1, shape[1])
    for name in norms:
        params[f"{name}.norm.weight"] = torch.ones(len(generators), 1, D)
        params[f"{name}.norm.bias"] = torch.zeros(len(generators), 1, D)
    return params


def transformer(
    params: Params,
    observations: Tensor,
    actions: Tensor,
    returns: Tensor,
    steps: Tensor,
    *,
    heads: int = 1,
    drop: Drop = lambda _, activations: activations,
) -> Tensor:
    """What the network says at each observation, of those that stand before it and its return-to-go.

    A time step's tokens are its return-to-go, observation and action, in this order; a token attends to
    itself and to those before it.

    Args:
        params: see `init_transformer`.
        observations: `[S, B, L, O]`.
        actions: `[S, B, L, A]`; that of the last time step is not looked at.
        returns: `[S, B, L]`, returns-to-go.
        steps: `[S, B, L]` integers, the time steps since the episode began.
        heads: attention heads; they divide D.
        drop: dropout, of the tokens and in the blocks.

    Returns:
        `[S, B, L, A]`.
    """
    S, B, L, _ = observations.shape
    table = params["time.weight"]
    offsets = torch.arange(S, device=table.device).view(S, 1, 1) * table.shape[1]
    time = functional.embedding(steps + offsets, table.flatten(0, 1))  # [S, B, L, D]
    tokens = [
        _linear(params, name, inputs) + time
        for name, inputs in (("return", returns.unsqueeze(-1)), ("observe", observations), ("act", actions))
    ]
    hidden = torch.stack(tokens, 3).view(S, B, 3 * L, -1)
    hidden = drop("tokens", _norm(params, "tokens", hidden))
    for block in range(blocks_of(params)):
        attended = _attention(params, block, _norm(params, f"{block}.norm1", hidden), heads, drop)
        hidden = hidden + drop(f"{block}.attended", attended)
        wide = functional.gelu(_linear(params, f"{block}.widen", _norm(params, f"{block}.norm2", hidden)))
        hidden = hidden + drop(f"{block}.narrowed", _linear(params, f"{block}.narrow", wide))
    return _linear(params, "head", _norm(params, "out", hidden)[:, :, 1::3])


def drop_sites(blocks: int) -> list[str]:
    """The names that `transformer` calls `drop` with."""
    parts = "weights", "attended", "narrowed"
    return ["tokens", *(f"{block}.{part}" for block in range(blocks) for part in parts)]


def _linear(params: Params, name: str, inputs: Tensor) -> Tensor:
    """`[S, B, T, in]` -> `[S, B, T, out]`."""
    out = affine(inputs.flatten(1, 2), params[f"{name}.weight"], params[f"{name}.bias"])
    return out.view(*inputs.shape[:-1], -1)


def _norm(params: Params, name: str, inputs: Tensor) -> Tensor:
    scale, shift = (params[f"{name}.norm.{each}"].unsqueeze(2) for each in ("weight", "bias"))
    return torch.addcmul(shift, functional.layer_norm(inputs, inputs.shape[-1:]), scale)


def _attention(params: Params, block: int, inputs: Tensor, heads: int, drop: Drop) -> Tensor:
    S, B, T, D = inputs.shape
    joint = _linear(params, f"{block}.attend", inputs).view(S, B, T, 3, heads, D // heads)
    queries, keys, values = joint.permute(3, 0, 1, 4, 2, 5).unbind()  # [S, B, H, T, D / H] each
    scores = queries @ keys.transpose(-1, -2) / math.sqrt(D // heads)
    later = torch.ones(T, T, dtype=torch.bool, device=inputs.device).triu(1)
    weights = drop(f"{block}.weights", scores.masked_fill(later, -math.inf).softmax(-1))
    return _linear(params, f"{block}.project", (weights @ values).transpose(2, 3).reshape(S, B, T, D))
