"""Discrete CQL against float64 loops and central differences; it learns a chain from random data."""

import math

import numpy as np
import pytest
import torch
from golden import cql_reference

from cqlbench.algorithms.discrete import DiscreteBatch, all_values, discrete_loss
from cqlbench.algorithms.networks import init_mlp
from cqlbench.config import CQLConfig

S, B, K, O, A = 2, 5, 2, 3, 4  # noqa: E741


def critics(seed: int, hidden: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    params = init_mlp([O, hidden, A], [generator] * S, members=K, orthogonal=False)
    return {
        name: torch.randn(t.shape, generator=generator, dtype=torch.float64) * 0.7
        for name, t in params.items()
    }


def batch() -> DiscreteBatch:
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return DiscreteBatch(
        normal(S, B, O),
        torch.randint(A, (S, B), generator=generator),
        normal(S, B),
        normal(S, B, O),
        torch.tensor([[0, 1, 0, 0, 0], [0, 0, 0, 0, 1]], dtype=torch.float64),
    )


def layers(params: dict[str, torch.Tensor], seed: int, k: int) -> list:
    return [
        (params[f"{i}.weight"][seed, k].numpy(), params[f"{i}.bias"][seed, k].numpy().ravel())
        for i in range(2)
    ]


def golden_loss(networks: list, fixed: list, targets: list, data: DiscreteBatch, seed: int, config) -> float:
    total, t = 0.0, config.cql_temperature
    for network, target in zip(networks, fixed, strict=True):
        del target
        for b in range(B):
            values = cql_reference.forward(network, data.observations[seed, b].numpy())
            chosen = values[int(data.actions[seed, b])]
            gap = t * math.log(sum(math.exp(v / t) for v in values)) - chosen
            if config.gap_clip_max is not None:
                gap = min(gap, config.gap_clip_max)
            total += ((chosen - targets[b]) ** 2 + config.conservative_weight * gap) / B
    return total


def golden_targets(online: list, fixed: list, data: DiscreteBatch, seed: int, discount: float) -> list[float]:
    targets = []
    for b in range(B):
        state = data.next_observations[seed, b].numpy()
        mean = sum(cql_reference.forward(network, state) for network in online) / K
        best = int(np.argmax(mean))
        value = min(cql_reference.forward(network, state)[best] for network in fixed)
        ended = float(data.terminated[seed, b])
        targets.append(float(data.rewards[seed, b]) + discount * (1 - ended) * value)
    return targets


@pytest.mark.parametrize(
    "changes", [{}, {"cql_temperature": 0.6, "conservative_weight": 2.0}, {"gap_clip_max": 1.2}]
)
def test_loss_and_gradients_agree_with_the_equations(changes: dict) -> None:
    config = CQLConfig(**changes)
    params, fixed, data = critics(0), critics(5), batch()
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in params.items()}
    loss, _ = discrete_loss(leaves, fixed, data, config)
    gradients = dict(zip(leaves, torch.autograd.grad(loss.sum(), list(leaves.values())), strict=True))
    for seed in range(S):
        online, targets_of = ([layers(group, seed, k) for k in range(K)] for group in (params, fixed))
        targets = golden_targets(online, targets_of, data, seed, config.discount)
        sizes = [cql_reference.pack(network).size for network in online]

        def golden(flat: np.ndarray) -> float:
            pieces = np.split(flat, np.cumsum(sizes)[:-1])  # noqa: B023
            networks = [
                cql_reference.unpack(p, like)
                for p, like in zip(pieces, online, strict=True)  # noqa: B023
            ]
            return golden_loss(networks, targets_of, targets, data, seed, config)  # noqa: B023

        flat = np.concatenate([cql_reference.pack(network) for network in online])
        found = np.concatenate([cql_reference.pack(layers(gradients, seed, k)) for k in range(K)])
        expected = cql_reference.central_difference(golden, flat)
        assert loss[seed].item() == pytest.approx(golden(flat), rel=1e-9)
        assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 1e-6


def test_it_learns_to_walk_a_chain_from_random_data() -> None:
    # Five cells in a row; action 1 goes right, all others left; the last cell pays 1 and ends.
    generator = torch.Generator().manual_seed(0)
    cells = torch.randint(4, (1, 2000), generator=generator)
    actions = torch.randint(A, (1, 2000), generator=generator)
    after = torch.where(actions == 1, cells + 1, (cells - 1).clamp(min=0))
    eye = torch.eye(5)
    data = DiscreteBatch(eye[cells], actions, (after == 4).float(), eye[after], (after == 4).float())
    params = init_mlp([5, 32, A], [generator], members=K, orthogonal=False)
    target = {name: tensor.clone() for name, tensor in params.items()}
    params = {name: tensor.requires_grad_() for name, tensor in params.items()}
    optimizer = torch.optim.Adam(params.values(), lr=3e-3)
    config = CQLConfig(conservative_weight=0.1, discount=0.9)
    for _ in range(400):
        loss, _ = discrete_loss(params, target, data, config)
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
        for name, tensor in target.items():
            tensor.lerp_(params[name].detach(), 0.05)
    greedy = all_values(params, eye[:4].unsqueeze(0)).mean(1).argmax(-1)
    assert greedy.tolist() == [[1, 1, 1, 1]]
