"""Networks against plain torch, and tanh policies against numerical integration and torch.distributions."""

import pytest
import torch

from cqlbench.algorithms import networks
from cqlbench.algorithms.networks import Init, policies
from cqlbench.core.seeding import Purpose, torch_generator
from cqlbench.data.embedded import policy


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch_generator(seed, Purpose.INIT) for seed in seeds]


@pytest.mark.parametrize(
    "init", [Init(), Init(orthogonal=True, last_gain=0.01), Init(bias=0.1, last_bound=3e-3, norm=True)]
)
def test_a_seed_starts_alike_in_any_company(init: Init) -> None:
    together = networks.init_critics(3, 2, [8, 8], 2, generators(5, 1, 9), init)
    alone = networks.init_critics(3, 2, [8, 8], 2, generators(1), init)
    for name, tensor in alone.items():
        assert torch.equal(together[name][1], tensor[0]), name
    assert not torch.equal(together["0.weight"][0], together["0.weight"][1])
    assert not torch.equal(together["0.weight"][0, 0], together["0.weight"][0, 1])


def test_orthogonal_init_has_the_stated_gains() -> None:
    params = networks.init_mlp([6, 6, 6, 2], generators(0), Init(orthogonal=True, last_gain=0.01))
    hidden, head = params["1.weight"][0], params["2.weight"][0]
    assert torch.allclose(hidden @ hidden.T, 2 * torch.eye(6), atol=1e-5)
    assert torch.allclose(head.T @ head, 1e-4 * torch.eye(2), atol=1e-8)


def test_critic_values_agree_with_torch_linear_layers() -> None:
    S, K, B, M, O, A = 2, 3, 4, 5, 3, 2  # noqa: E741
    params = networks.init_critics(O, A, [7, 6], K, generators(0, 1), Init(last_gain=0.01))
    params["2.weight"].normal_(generator=torch_generator(0, Purpose.NOISE))
    generator = torch.Generator().manual_seed(0)
    observations = torch.randn(S, B, O, generator=generator)
    actions = torch.randn(S, B, M, A, generator=generator)
    values = networks.critic_values(params, observations, actions)
    assert values.shape == (S, K, B, M)
    for s in range(S):
        for k in range(K):
            hidden = torch.cat([observations[s].unsqueeze(1).expand(B, M, O), actions[s]], dim=-1)
            for layer in range(3):
                hidden = hidden @ params[f"{layer}.weight"][s, k] + params[f"{layer}.bias"][s, k]
                hidden = hidden.relu() if layer < 2 else hidden
            assert torch.allclose(values[s, k], hidden.squeeze(-1), atol=1e-5)


def box(low: list[float], high: list[float]) -> networks.ActionBox:
    return networks.ActionBox.from_bounds(torch.tensor(low).double(), torch.tensor(high).double())


def test_log_density_agrees_with_torch_distributions() -> None:
    generator = torch.Generator().manual_seed(1)
    mean = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    log_std = torch.randn(6, 2, generator=generator, dtype=torch.float64) * 0.3
    where = box([-1.0, -0.5], [1.0, 2.5])
    actions, ours = networks.TanhGaussian(mean, log_std, where).sample(
        torch.randn(6, 4, 2, generator=generator, dtype=torch.float64)
    )
    golden = torch.distributions.TransformedDistribution(
        torch.distributions.Normal(mean.unsqueeze(1), log_std.exp().unsqueeze(1)),
        [
            torch.distributions.transforms.TanhTransform(),
            torch.distributions.transforms.AffineTransform(where.centre, where.half_range),
        ],
    )
    assert torch.allclose(golden.log_prob(actions).sum(-1), ours, rtol=1e-8)


def test_log_density_integrates_to_one() -> None:
    where = box([-0.5], [2.0])
    policy = networks.TanhGaussian(torch.tensor([[0.3]]).double(), torch.tensor([[-0.4]]).double(), where)
    u = torch.linspace(-9, 9, 200_001, dtype=torch.float64)
    normals = ((u - 0.3) / torch.tensor(-0.4).double().exp()).view(1, -1, 1)
    actions, log_density = policy.sample(normals)
    assert torch.trapezoid(log_density.exp()[0], actions[0, :, 0]).item() == pytest.approx(1.0, abs=1e-6)


def test_log_density_and_its_gradient_stay_finite_at_saturation() -> None:
    mean = torch.tensor([[-60.0, 60.0, 9.0]], requires_grad=True)
    log_std = torch.tensor([[2.0, -20.0, 0.0]], requires_grad=True)
    where = networks.ActionBox.from_bounds(-torch.ones(3), torch.ones(3))
    actions, log_density = networks.TanhGaussian(mean, log_std, where).sample(torch.ones(1, 3))
    (actions.sum() + log_density.sum()).backward()
    assert torch.isfinite(log_density).all()
    assert torch.isfinite(mean.grad).all()
    assert torch.isfinite(log_std.grad).all()


def test_shipped_policies_are_squashed_like_trained_ones() -> None:
    assert (policies.LOG_STD_MIN, policies.LOG_STD_MAX) == (policy.LOG_STD_MIN, policy.LOG_STD_MAX)
