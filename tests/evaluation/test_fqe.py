import numpy as np
import pytest
import torch
from simulated_device import CUDA, simulated
from torch import Tensor
from torch.nn import functional

from cqlbench.algorithms.networks import ActionBox, DiscreteActions
from cqlbench.engine import cuda_graph
from cqlbench.engine.dataset_tensors import Columns
from cqlbench.evaluation.fqe import FQEConfig, cloning_distance, fitted_q_evaluation, return_range

FAST = {"hidden": [32, 32], "learning_rate": 3e-3, "polyak_rate": 0.1, "batch_size": 128, "steps": 800}
_ONE = torch.ones(1)


def test_the_range_of_returns_holds_zero() -> None:
    rewards = torch.tensor([1.0, 3.0])
    assert return_range(rewards, 0.9) == pytest.approx((0, 30))
    assert return_range(-rewards, 0.5, 2) == pytest.approx((-4.5, 0))
    assert return_range(rewards, 1.0, 10) == (0, 30)
    assert return_range(rewards * 0, 0.9) == (0, 0)


def test_a_markov_chain_has_its_exact_values() -> None:
    """Five states in a row, two of them ends; 'left' slips to the right one time in four."""
    states, discount = 5, 0.9
    generator = np.random.default_rng(0)
    s, a = generator.integers(1, 4, 4000), generator.integers(0, 2, 4000)
    slips = generator.random(4000) < 0.25
    following = s + np.where((a == 1) | slips, 1, -1)
    rewards = np.where(following == 4, 1.0, -0.2)
    eye = torch.eye(states)
    data = Columns(
        eye[s],
        functional.one_hot(torch.from_numpy(a), 2).float(),
        torch.from_numpy(rewards).float(),
        eye[following],
        torch.from_numpy((following == 0) | (following == 4)),
    )
    policies = torch.tensor([[0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 1, 1, 0]])  # [S, states]
    exact = []
    for policy in policies.tolist():
        moves, gains = np.zeros((states, states)), np.zeros(states)
        for at in (1, 2, 3):
            right = 1.0 if policy[at] else 0.25
            moves[at, at + 1], moves[at, at - 1] = right, 1 - right
            gains[at] = right * (1.0 if at == 3 else -0.2) + (1 - right) * -0.2
        values = np.linalg.solve(np.eye(states) - discount * moves, gains)
        exact.append(values[[1, 2]].mean())

    def act(observations: Tensor) -> Tensor:
        return functional.one_hot(policies[:, observations.argmax(-1)], 2).float()

    config = FQEConfig(discount=discount, **FAST)
    found = fitted_q_evaluation(data, eye[[1, 2]], act, DiscreteActions(2), config)
    np.testing.assert_allclose(found, exact, atol=0.06)
    distance = cloning_distance(data, act, DiscreteActions(2))
    expected = [(a != np.array(policy)[s]).mean() for policy in policies.tolist()]
    np.testing.assert_allclose(distance, expected, atol=1e-6)


def test_a_linear_quadratic_problem_has_its_exact_and_its_simulated_values() -> None:
    """s' = 0.8 s + 0.4 a + noise, r = -(s² + a² / 2), a = -k s: V(s) = -p (s² + γ var / (1 - γ))."""
    discount, noise = 0.9, 0.1
    gains = np.array([-0.5, 0.0, 0.5, 0.9])
    generator = np.random.default_rng(1)
    s, a = generator.uniform(-1.2, 1.2, 5000), generator.uniform(-1, 1, 5000)

    def step(s, a):
        return 0.8 * s + 0.4 * a + noise * generator.normal(size=s.shape), -(s**2 + a**2 / 2)

    following, rewards = step(s, a)
    data = Columns(
        *(torch.from_numpy(each).float() for each in (s[:, None], a[:, None], rewards, following[:, None])),
        torch.zeros(5000, dtype=torch.bool),
    )
    starts = np.linspace(-1, 1, 21)
    p = (1 + gains**2 / 2) / (1 - discount * (0.8 - 0.4 * gains) ** 2)
    exact = -p * ((starts**2).mean() + discount * noise**2 / (1 - discount))
    at, simulated = np.tile(starts, (4, 300)), 0.0
    for t in range(60):
        at, reward = step(at, -gains[:, None] * at)
        simulated = simulated + discount**t * reward.mean(1)
    np.testing.assert_allclose(simulated, exact, rtol=0.05)

    def act(observations: Tensor) -> Tensor:
        return -torch.from_numpy(gains).float().view(-1, 1, 1) * observations

    config = FQEConfig(discount=discount, **FAST | {"learning_rate": 1e-2, "steps": 1500})
    found = fitted_q_evaluation(
        data, torch.from_numpy(starts[:, None]).float(), act, ActionBox.from_bounds(-_ONE, _ONE), config
    ).numpy()
    np.testing.assert_allclose(found, exact, rtol=0.1)
    assert (np.argsort(found) == np.argsort(exact)).all()


def test_candidates_do_not_depend_on_each_other_and_targets_stay_in_range() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.rand(64, 3, generator=generator)
    data = Columns(rows, rows[:, :1], rows[:, 1], rows + 1, torch.zeros(64, dtype=torch.bool))
    box, config = ActionBox.from_bounds(-_ONE, _ONE), FQEConfig(discount=0.5, **FAST | {"steps": 20})

    def value(*offsets: float) -> Tensor:
        def act(observations: Tensor) -> Tensor:
            return observations[..., :1] + torch.tensor(offsets).view(-1, 1, 1)

        return fitted_q_evaluation(data, rows[:5], act, box, config)

    torch.testing.assert_close(value(0.1, 0.2)[1:], value(0.2))
    assert ((value(0.1, 0.2) >= 0) & (value(0.1, 0.2) <= 2 * rows[:, 1].max())).all()


def test_a_graph_gives_what_single_steps_give(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.rand(40, 3, generator=generator)
    flags = torch.zeros(40, dtype=torch.bool)

    def value(device: torch.device) -> Tensor:
        data = Columns(rows, rows[:, :1], rows[:, 1], rows + 1, flags).to(device)
        weights = torch.ones(2, 3, 1).to(device)
        box = ActionBox.from_bounds(-_ONE, _ONE).to(device)
        config = FQEConfig(hidden=[4], batch_size=5, steps=52)
        found = fitted_q_evaluation(
            data, data.observations[:5], lambda each: (each @ weights).tanh(), box, config
        )
        return found.cpu()

    expected = value(torch.device("cpu"))
    monkeypatch.setattr(cuda_graph, "_WARMUP", 1)
    with simulated(monkeypatch):
        assert torch.equal(value(CUDA), expected)
