"""The backward pass that is written out, cut in all ways, against autograd on plain products."""

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch

from cqlbench.algorithms.networks import ensemble
from cqlbench.algorithms.networks.sharing import shared

G, R, I = 4, 11, 3  # noqa: E741


@pytest.mark.parametrize("hidden", [[5], [5, 5], [4, 6, 5], [3, 3, 3, 3, 3]])
@pytest.mark.parametrize("within", [nullcontext, shared])
@pytest.mark.parametrize(
    ("block", "least", "jobs"),
    [(1 << 19, 1 << 18, 8), (40, 1, 1), (1, 1, 100), (1 << 19, 1, 12), (60, 100, 5), (1 << 19, 1, 100)],
)
def test_values_and_gradients_are_autograds(
    hidden: list[int],
    block: int,
    least: int,
    jobs: int,
    within: Callable[[], AbstractContextManager[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ensemble, "BLOCK_NUMBERS", block)
    monkeypatch.setattr(ensemble, "_LEAST", least)
    monkeypatch.setattr(ensemble, "_LEAST_SHARED", least)
    monkeypatch.setattr(ensemble, "_JOBS", jobs)
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    inputs, first = normal(G, R, I), normal(G, I, hidden[0])
    sizes = [*hidden, 1]
    rest = [
        tensor
        for fan_in, fan_out in itertools.pairwise(sizes)
        for tensor in (normal(G, fan_in, fan_out), normal(G, 1, fan_out))
    ]
    with within():
        values = ensemble.EnsembleValues.apply(inputs, first, *rest)
    plain = (inputs @ first).relu()
    for layer, (weight, bias) in enumerate(zip(rest[::2], rest[1::2], strict=True)):
        plain = plain @ weight + bias
        plain = plain.relu() if layer < len(hidden) - 1 else plain
    assert torch.allclose(values, plain, atol=1e-12)
    towards = torch.randn(G, R, 1, generator=generator, dtype=torch.float64)
    with within():
        ours = torch.autograd.grad(values, [inputs, first, *rest], towards)
    theirs = torch.autograd.grad(plain, [inputs, first, *rest], towards)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other, atol=1e-11)


def test_what_needs_no_gradient_gets_none() -> None:
    inputs = torch.randn(G, R, I, requires_grad=True)
    frozen = [torch.randn(G, I, 4), torch.randn(G, 4, 1), torch.randn(G, 1, 1)]
    values = ensemble.EnsembleValues.apply(inputs, *frozen)
    values.sum().backward()
    assert inputs.grad is not None
    assert all(tensor.grad is None for tensor in frozen)
