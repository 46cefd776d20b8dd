"""Actions of a tanh-Gaussian policy and their log-densities, as one operation each way."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from cqlbench.algorithms.gpu.operations import on_cuda

LOG_2 = 0.6931471805599453
HALF_LOG_2PI = 0.9189385332046727


class TanhGaussianSample(torch.autograd.Function):
    """`actions, log_density(mean, log_std, normals, centre, half_range)`: see `sample`."""

    @staticmethod
    def forward(
        ctx: Any, mean: Tensor, log_std: Tensor, normals: Tensor, centre: Tensor, half_range: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Keeps its arguments."""
        ctx.save_for_backward(mean, log_std, normals, half_range)
        actions, log_density = sample(mean, log_std, normals, centre, half_range)
        return actions, log_density

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Of `mean` and `log_std`."""
        of_mean, of_log_std = sample_back(*gradients, *ctx.saved_tensors)
        return of_mean, of_log_std, None, None, None


@torch.library.custom_op("cqlbench::sample", mutates_args=(), device_types="cpu")
def sample(
    mean: Tensor, log_std: Tensor, normals: Tensor, centre: Tensor, half_range: Tensor
) -> tuple[Tensor, Tensor]:
    """Reparameterised actions `[R, N, A]` and log π(a|s) `[R, N]`.

    Args:
        mean: `[R, A]`, before tanh.
        log_std: `[R, A]`.
        normals: `[R, N, A]`.
        centre: `[A]`, of the action box.
        half_range: `[A]`.
    """
    u = torch.addcmul(mean.unsqueeze(1), log_std.exp().unsqueeze(1), normals)
    gaussian = -0.5 * normals.square() - log_std.unsqueeze(1) - HALF_LOG_2PI
    squash = 2 * (LOG_2 - u - functional.softplus(-2 * u))
    return centre + half_range * u.tanh(), (gaussian - squash - half_range.log()).sum(-1)


@torch.library.custom_op("cqlbench::sample_back", mutates_args=(), device_types="cpu")
def sample_back(
    of_actions: Tensor, of_density: Tensor, mean: Tensor, log_std: Tensor, normals: Tensor, half_range: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradients of `mean` and `log_std`, `[R, A]`, where there is one action per row: N = 1.

    With a = tanh u: ∂a/∂u = 1 − a², ∂ log π/∂u = 2a, ∂u/∂log σ = σ·ε, and log π falls by log σ itself.

    Args:
        of_actions: `[R, 1, A]`.
        of_density: `[R, 1]`.
        mean: as of `sample`.
        log_std: as of `sample`.
        normals: as of `sample`.
        half_range: as of `sample`.
    """
    deviation = log_std.exp() * normals.squeeze(1)
    unit = (mean + deviation).tanh()
    of_u = of_actions.squeeze(1) * half_range * (1 - unit.square()) + of_density * 2 * unit
    return of_u, of_u * deviation - of_density


for _operation in (sample, sample_back):
    on_cuda(_operation)


@sample.register_fake
def _(mean: Tensor, log_std: Tensor, normals: Tensor, *box: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    return torch.empty_like(normals), normals.new_empty(normals.shape[:-1])


@sample_back.register_fake
def _(of_actions: Tensor, of_density: Tensor, mean: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    return torch.empty_like(mean), torch.empty_like(mean)
