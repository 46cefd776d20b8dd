"""Sampled actions and log-densities, and their gradients, are the policy's own."""

import pytest
import torch

from cqlbench.algorithms.gpu.sampling import TanhGaussianSample, sample
from cqlbench.algorithms.networks import ActionBox, TanhGaussian

LOW, HIGH = torch.tensor([-1.0, 0.0, -3.0]), torch.tensor([1.0, 4.0, 5.0])


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("each", [1, 4])
def test_actions_and_densities_are_the_policys(each: int) -> None:
    box = ActionBox.from_bounds(LOW.double(), HIGH.double())
    mean, log_std, normals = drawn(7, 3, seed=0), drawn(7, 3, seed=1), drawn(7, each, 3, seed=2)
    expected = TanhGaussian(mean, log_std, box).sample(normals)
    found = sample(mean, log_std, normals, box.centre, box.half_range)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_gradients_are_autograds() -> None:
    box = ActionBox.from_bounds(LOW.double(), HIGH.double())
    mean, log_std = drawn(7, 3, seed=0).requires_grad_(), drawn(7, 3, seed=1).requires_grad_()
    normals, of_actions, of_density = drawn(7, 3, seed=2), drawn(7, 3, seed=3), drawn(7, seed=4)
    actions, density = TanhGaussian(mean, log_std, box).sample(normals)
    expected = torch.autograd.grad([actions, density], [mean, log_std], [of_actions, of_density])
    actions, density = TanhGaussianSample.apply(
        mean, log_std, normals.unsqueeze(1), box.centre, box.half_range
    )
    weights = [of_actions.unsqueeze(1), of_density.unsqueeze(1)]
    for ours, theirs in zip(
        torch.autograd.grad([actions, density], [mean, log_std], weights), expected, strict=True
    ):
        torch.testing.assert_close(ours, theirs)
