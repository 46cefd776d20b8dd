"""Ensembles of critics Q(s, a)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cqlbench.algorithms.networks.ensemble import EnsembleValues
from cqlbench.algorithms.networks.mlp import Init, Params, can_round, depth, init_mlp, mlp, rounded_mlp


def init_critics(
    observation_size: int,
    action_size: int,
    hidden: Sequence[int],
    critics: int,
    generators: Sequence[torch.Generator],
    init: Init,
) -> Params:
    """An ensemble of critics, `[S, K, …]`."""
    return init_mlp([observation_size + action_size, *hidden, 1], generators, init, members=critics)


def critic_values(critics: Params, observations: Tensor, actions: Tensor) -> Tensor:
    """Q(s, a) of all critics for M actions per state.

    Parameters are `[S, K, …]`, observations `[S, B, O]`, actions `[S, B, M, A]`.

    Returns:
        `[S, K, B, M]`.
    """
    S, B, M, _ = actions.shape
    K = critics["0.weight"].shape[1]
    states = observations.unsqueeze(2).expand(S, B, M, observations.shape[-1])
    if can_round(critics, actions):
        inputs = torch.cat([states, actions], dim=-1).view(S, B * M, -1)
        return rounded_mlp(critics, inputs).view(S, K, B, M)
    ones = actions.new_ones(()).expand(S, B, M, 1)
    inputs = torch.cat([states, actions, ones], dim=-1)  # [S, B, M, O+A+1]
    shared = inputs.view(S, 1, B * M, -1).expand(S, K, B * M, -1).flatten(0, 1)
    first = torch.cat([critics["0.weight"], critics["0.bias"]], dim=2)  # [S, K, O+A+1, H]
    rest = [
        critics[f"{layer}.{part}"].flatten(0, 1)
        for layer in range(1, depth(critics))
        for part in ("weight", "bias")
    ]
    values: Tensor = EnsembleValues.apply(shared, first.flatten(0, 1), *rest)  # type: ignore[no-untyped-call]
    return values.view(S, K, B, M)


def action_values(critics: Params, observations: Tensor, actions: Tensor) -> Tensor:
    """Q(s, a) of all critics for one action per state, layer norms included.

    Each critic's own actions `[S, K, B, A]` give values that are twice differentiable.

    Critics are `[S, K, …]`, observations `[S, B, O]`, actions `[S, B, A]` or each critic's, `[S, K, B, A]`.

    Returns:
        `[S, K, B]`.
    """
    K = critics["0.weight"].shape[1]
    if observations.dim() == actions.dim() == 3 and can_round(critics, actions):
        values = rounded_mlp(critics, torch.cat([observations, actions], dim=-1))
        return values.view(len(actions), K, -1)
    states, actions = (
        each if each.dim() == 4 else each.unsqueeze(1).expand(-1, K, -1, -1)
        for each in (observations, actions)
    )
    return mlp(critics, torch.cat([states, actions], dim=-1)).squeeze(-1)
