"""Networks with activations of 16 bits are as near to float64 as TF32 is, whatever the gradients' size."""

import itertools

import pytest
import torch
from torch import Tensor

from cqlbench.algorithms.gpu.half import HalfNetwork, layer, scaled

S, K, R, IN, H = 2, 2, 600, 5, 48


def rounded(tensor: Tensor) -> Tensor:
    """Factors as TF32 has them: 10 bits of mantissa."""
    return ((tensor.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


class TF32Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, left: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(left, right)
        return torch.bmm(rounded(left), rounded(right))

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        left, right = map(rounded, ctx.saved_tensors)
        gradient = rounded(gradient)
        return torch.bmm(gradient, right.transpose(1, 2)), torch.bmm(left.transpose(1, 2), gradient)


def network(product, inputs: Tensor, *parameters: Tensor) -> Tensor:
    hidden = inputs.repeat_interleave(K, 0)
    for at in range(0, len(parameters), 2):
        hidden = product(hidden if at == 0 else hidden.relu(), parameters[at]) + parameters[at + 1]
    return hidden


def problem(outputs: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    sizes = [IN, H, H, outputs]
    parameters = [
        tensor
        for fan_in, fan_out in itertools.pairwise(sizes)
        for tensor in (normal(S * K, fan_in, fan_out) / fan_in**0.5, normal(S * K, 1, fan_out))
    ]
    return [normal(S, R, IN), *parameters]


def gradients(function, arguments: list[Tensor], weight: Tensor) -> tuple[Tensor, list[Tensor]]:
    arguments = [argument.clone().requires_grad_() for argument in arguments]
    values = function(*arguments)
    return values.detach(), list(torch.autograd.grad(values, arguments, weight.to(values.dtype)))


def distance(one: Tensor, other: Tensor) -> float:
    return float((one.double() - other).norm() / other.norm())


@pytest.mark.parametrize("outputs", [1, 6])
@pytest.mark.parametrize("size", [1.0, 1e-9, 1e9])
def test_it_is_as_near_to_float64_as_tf32(outputs: int, size: float) -> None:
    arguments = problem(outputs)
    weight = size * torch.rand(S * K, R, outputs, generator=torch.Generator().manual_seed(1))
    exact, of_exact = gradients(
        lambda *them: network(torch.bmm, *them), [each.double() for each in arguments], weight
    )
    tf32, of_tf32 = gradients(lambda *them: network(TF32Product.apply, *them), arguments, weight)
    half, of_half = gradients(HalfNetwork.apply, arguments, weight)
    assert half.dtype == torch.float32
    assert distance(half, exact) < 1.5 * distance(tf32, exact) < 2e-3
    for ours, theirs, true in zip(of_half, of_tf32, of_exact, strict=True):
        assert distance(ours, true) < max(1.5 * distance(theirs, true), 1e-6)


def test_only_what_is_asked_for_gets_a_gradient() -> None:
    inputs, *parameters = problem(1)
    inputs.requires_grad_()
    HalfNetwork.apply(inputs, *parameters).sum().backward()
    assert inputs.grad is not None
    assert all(each.grad is None for each in parameters)


def test_large_activations_saturate_and_no_number_stays_none() -> None:
    bias = torch.tensor([1e6, -1e6, float("nan")]).view(1, 1, 3)
    out = layer(torch.zeros(1, 1, 2), torch.zeros(1, 2, 3), bias, True)
    assert out[0, 0, :2].tolist() == [65504.0, 0.0]
    assert out[0, 0, 2].isnan()


def test_gradients_are_scaled_by_their_largest() -> None:
    gradient = torch.tensor([[[1e-12], [-4e-12]], [[0.0], [0.0]], [[float("nan")], [1.0]]])
    halves, unit, sums = scaled(gradient)
    assert halves[0].flatten().tolist() == [16.0, -64.0]
    assert halves[1].flatten().tolist() == [0.0, 0.0]
    assert halves[2].isnan().any()
    torch.testing.assert_close(halves[0] * unit[0], gradient[0])
    torch.testing.assert_close(sums, gradient.sum(1, keepdim=True), equal_nan=True)
