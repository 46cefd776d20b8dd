"""On a GPU every operation gives what its plain form gives on the CPU, at sizes that fit no tile."""

import pytest
import torch
from torch import Tensor

from cqlbench.algorithms.gpu import adam, half, sampling

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")

SIZES = [(2, 2, 300, 15, 32, 1), (1, 1, 70, 5, 200, 6), (2, 3, 2100, 17, 256, 1), (3, 2, 256, 300, 100, 24)]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def compare(operation, *arguments: object, bound: float = 1e-3) -> tuple[Tensor, ...]:
    on_gpu = [each.cuda() if isinstance(each, Tensor) else each for each in arguments]
    expected, found = operation(*arguments), operation(*on_gpu)
    again = operation(*on_gpu)
    for theirs, ours, second in zip(
        *(each if isinstance(each, tuple) else (each,) for each in (expected, found, again)), strict=True
    ):
        assert torch.equal(ours, second)
        assert ours.dtype == theirs.dtype
        distance = (ours.cpu().double() - theirs.double()).norm() / theirs.double().norm()
        assert distance < bound
    return expected if isinstance(expected, tuple) else (expected,)


@pytest.mark.parametrize("size", SIZES)
def test_layers(size: tuple[int, ...]) -> None:
    S, K, R, I, H, N = size  # noqa: E741
    G = S * K
    inputs, gradient = normal(S, R, I), normal(G, R, N) * 1e-6
    first, second, last = normal(G, I, H) / I**0.5, normal(G, H, H) / H**0.5, normal(G, H, N) / H**0.5
    (one,) = compare(half.layer, inputs, first, normal(G, 1, H), True)
    for weight in (second, second.half()):
        (two,) = compare(half.layer, one, weight, normal(G, 1, H), True)
    compare(half.layer, two, last, normal(G, 1, N), False)
    halves, unit, _ = compare(half.scaled, gradient)
    for weight in (last, last.half()):
        below, _ = compare(half.layer_back, halves, unit, weight, two)
    compare(half.layer_back, below, unit, second, one)
    compare(half.weight_back, two, halves, unit)
    compare(half.weight_back, one, below, unit)
    compare(half.weight_back, inputs, below, unit)


def test_parameters_may_be_views_of_joined_ones() -> None:
    whole = normal(4, 100 * 64 + 64).cuda()
    weight, bias = whole[:, : 100 * 64].view(4, 100, 64), whole[:, 100 * 64 :].view(4, 1, 64)
    inputs = normal(4, 300, 100).cuda()
    assert torch.equal(
        half.layer(inputs, weight, bias, True),
        half.layer(inputs, weight.contiguous(), bias.contiguous(), True),
    )


def test_no_number_stays_none() -> None:
    inputs, weight, bias = normal(1, 300, 64), normal(1, 64, 64), normal(1, 1, 64)
    weight[0, 3, 5] = float("nan")
    out = half.layer(inputs.cuda(), weight.cuda(), bias.cuda(), True)
    assert torch.equal(out.isnan().cpu(), half.layer(inputs, weight, bias, True).isnan())
    gradient = normal(1, 300, 1)
    gradient[0, 7] = float("inf")
    assert not half.scaled(gradient.cuda())[0].isfinite().all()


def test_adam() -> None:
    state = [normal(3, 5000, seed=seed).abs() for seed in range(3)]
    gradients, alive = normal(3, 5000, seed=4), torch.tensor([True, False, True])
    gradients[1] = float("nan")
    here, there = [each.clone() for each in state], [each.cuda() for each in state]
    count, rate = torch.tensor(3.0), torch.tensor(1e-3)
    adam.adam(here[0], gradients, here[1], here[2], alive, count, rate, 0.01)
    there_too = [each.cuda() for each in (gradients, alive, count, rate)]
    adam.adam(there[0], there_too[0], there[1], there[2], *there_too[1:], 0.01)
    for ours, theirs in zip(there, here, strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("each", [1, 5])
@pytest.mark.parametrize("A", [1, 3, 24])
def test_sampling(each: int, A: int) -> None:
    mean, log_std, normals = normal(40, A), normal(40, A, seed=1), normal(40, each, A, seed=2)
    centre, half_range = normal(A, seed=3), normal(A, seed=4).abs() + 0.5
    compare(sampling.sample, mean, log_std, normals, centre, half_range, bound=1e-5)
    if each == 1:
        of = normal(40, 1, A, seed=5), normal(40, 1, seed=6)
        compare(sampling.sample_back, *of, mean, log_std, normals, half_range, bound=1e-5)
