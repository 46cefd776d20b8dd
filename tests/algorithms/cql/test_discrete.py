"""Discrete CQL against float64 loops and central differences; seeds share nothing; it learns a chain."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from golden import cql_reference
from torch.nn.functional import one_hot

from cqlbench.algorithms.algorithm import Batch, Spaces
from cqlbench.algorithms.cql import CQLConfig, DiscreteCQL
from cqlbench.algorithms.cql.discrete import all_values, discrete_loss, greedy_actions
from cqlbench.algorithms.networks import DiscreteActions, Init, Params, init_mlp
from cqlbench.algorithms.step import TrainState, initial_state, loss_gradients, make_update
from cqlbench.core.errors import ConfigError

S, B, K, O, A = 2, 5, 2, 3, 4  # noqa: E741
ACTIONS = DiscreteActions(A)


def algorithm(config: CQLConfig) -> DiscreteCQL:
    return DiscreteCQL(config, Spaces(O, ACTIONS))


def critics(seed: int, hidden: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    params = init_mlp([O, hidden, A], [generator] * S, Init(last_gain=0.01), members=K)
    return {
        name: torch.randn(t.shape, generator=generator, dtype=torch.float64) * 0.7
        for name, t in params.items()
    }


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return Batch(
        normal(S, B, O),
        one_hot(torch.randint(A, (S, B), generator=generator), A).double(),
        normal(S, B),
        normal(S, B, O),
        torch.tensor([[0, 1, 0, 0, 0], [0, 0, 0, 0, 1]], dtype=torch.float64),
    )


def layers(params: dict[str, torch.Tensor], seed: int, k: int) -> list:
    return [
        (params[f"{i}.weight"][seed, k].numpy(), params[f"{i}.bias"][seed, k].numpy().ravel())
        for i in range(2)
    ]


def golden_loss(networks: list, fixed: list, targets: list, data: Batch, seed: int, config) -> float:
    total, t = 0.0, config.cql_temperature
    for network, target in zip(networks, fixed, strict=True):
        del target
        for b in range(B):
            values = cql_reference.forward(network, data.observations[seed, b].numpy())
            chosen = values[data.actions[seed, b].tolist().index(1.0)]
            gap = t * math.log(sum(math.exp(v / t) for v in values)) - chosen
            if config.gap_clip_max is not None:
                gap = min(gap, config.gap_clip_max)
            total += ((chosen - targets[b]) ** 2 + config.conservative_weight * gap) / B
    return total


def golden_targets(online: list, fixed: list, data: Batch, seed: int, discount: float) -> list[float]:
    targets = []
    for b in range(B):
        state = data.next_observations[seed, b].numpy()
        mean = sum(cql_reference.forward(network, state) for network in online) / K
        best = int(np.argmax(mean))
        value = min(cql_reference.forward(network, state)[best] for network in fixed)
        ended = float(data.terminated[seed, b])
        targets.append(float(data.rewards[seed, b]) + discount * (1 - ended) * value)
    return targets


def state_of(params: Params, fixed: Params) -> TrainState:
    moments = [{"critics": {n: torch.zeros_like(t) for n, t in params.items()}} for _ in range(2)]
    alive = torch.ones(S, dtype=torch.bool)
    return TrainState({"critics": params}, {"critics": fixed}, *moments, torch.zeros(()), alive)


@pytest.mark.parametrize(
    "changes", [{}, {"cql_temperature": 0.6, "conservative_weight": 2.0}, {"gap_clip_max": 1.2}]
)
def test_loss_and_gradients_agree_with_the_equations(changes: dict) -> None:
    config = CQLConfig(**changes)
    params, fixed, data = critics(0), critics(5), batch()
    [stage] = algorithm(config).stages()
    found_gradients, diagnostics = loss_gradients(stage, state_of(params, fixed), data, {})
    assert set(found_gradients) == {"critics"}
    gradients, loss = found_gradients["critics"], diagnostics["critic_loss"]
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
    data = Batch(
        eye[cells], one_hot(actions, A).float(), (after == 4).float(), eye[after], (after == 4).float()
    )
    params = init_mlp([5, 32, A], [generator], Init(last_gain=0.01), members=K)
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


CONFIG = CQLConfig(critic_hidden=[16, 16], batch_size=B, conservative_weight=1.0)


def batch_for(seeds: Sequence[int], step: int) -> Batch:
    def draw(seed: int) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(1000 * seed + step)
        normal = [torch.randn(B, n, generator=generator) for n in (O, 1, O)]
        taken = torch.randint(A, (B,), generator=generator)
        ended = (torch.rand(B, generator=generator) < 0.1).float()
        return [normal[0], one_hot(taken, A).float(), normal[1].squeeze(1), normal[2], ended]

    return Batch(*(torch.stack(column) for column in zip(*map(draw, seeds), strict=True)))


def train(seeds: Sequence[int], steps: int, config: CQLConfig = CONFIG) -> tuple[TrainState, list[dict]]:
    state = initial_state(algorithm(config), seeds)
    update = make_update(algorithm(config))
    history = []
    for step in range(steps):
        state, diagnostics = update(state, batch_for(seeds, step), {}, step)
        history.append(diagnostics)
    return state, history


@pytest.mark.parametrize("max_norm", [None, 0.5])
def test_a_seed_in_a_batch_of_three_equals_the_seed_alone(max_norm: float | None) -> None:
    config = CQLConfig(**(vars(CONFIG) | {"max_gradient_norm": max_norm}))
    _, together = train([3, 0, 8], 50, config)
    _, alone = train([0], 50, config)
    for ours, theirs in zip(together, alone, strict=True):
        for name, values in theirs.items():
            assert ours[name][1].item() == pytest.approx(values[0].item(), rel=1e-4, abs=1e-6), name


def test_permuting_seeds_permutes_parameters() -> None:
    forward, backward = train([3, 0, 8], 20)[0], train([8, 0, 3], 20)[0]
    for name, tensor in forward.parameters["critics"].items():
        assert torch.allclose(tensor, backward.parameters["critics"][name].flip(0), rtol=1e-4, atol=1e-6)


def test_a_diverged_seed_is_frozen_and_leaves_the_others_alone() -> None:
    state = initial_state(algorithm(CONFIG), [0, 1])
    update = make_update(algorithm(CONFIG))
    for step in range(6):
        data = batch_for([0, 1], step)
        if step == 3:
            data.rewards[0, 0] = float("inf")
            before = state.clone()
        state, _ = update(state, data, {}, step)
    healthy, _ = train([1], 6)
    assert state.finite().tolist() == [False, True]
    for name, tensor in healthy.parameters["critics"].items():
        ours = state.parameters["critics"][name]
        assert torch.equal(ours[0], before.parameters["critics"][name][0]), name
        assert torch.allclose(ours[1], tensor[0], rtol=1e-4, atol=1e-6), name


def test_the_target_network_is_copied_every_period() -> None:
    config = CQLConfig(**(vars(CONFIG) | {"polyak_rate": 1.0, "target_update_period": 3}))
    for steps, copied in ((2, False), (3, True), (5, False), (6, True)):
        state, _ = train([0], steps, config)
        same = [torch.equal(t, state.targets["critics"][n]) for n, t in state.parameters["critics"].items()]
        assert all(same) == copied


def test_the_greedy_action_is_one_hot_for_the_mean_over_critics() -> None:
    params, states = critics(0), batch().observations
    actions = algorithm(CQLConfig()).act({"critics": params}, states)
    for seed in range(S):
        networks = [layers(params, seed, k) for k in range(K)]
        for b in range(B):
            mean = sum(cql_reference.forward(network, states[seed, b].numpy()) for network in networks)
            assert actions[seed, b].tolist() == np.eye(A)[np.argmax(mean)].tolist()


def test_the_greedy_action_of_a_diverged_critic_is_not_a_number() -> None:
    params = critics(0)
    params["1.bias"][0] = float("nan")
    actions = greedy_actions(params, batch().observations)
    assert actions[0].isnan().all()
    assert actions[1].isfinite().all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("variant", "rho"),
        ("importance_sampled", False),
        ("max_q_backup", True),
        ("backup_entropy", True),
        ("bc_steps", 10),
        ("lagrange", True),
        ("calibrated", True),
    ],
)
def test_options_of_continuous_actions_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"algorithm.{name}={value} is for continuous actions"):
        algorithm(CQLConfig(**{name: value}))
