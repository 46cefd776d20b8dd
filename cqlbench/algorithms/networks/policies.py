"""The tanh-Gaussian policy."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cqlbench.algorithms.gpu.operations import usable
from cqlbench.algorithms.gpu.sampling import HALF_LOG_2PI, LOG_2, TanhGaussianSample
from cqlbench.algorithms.networks.mlp import Init, Params, depth, init_mlp, mlp
from cqlbench.algorithms.networks.spaces import ActionBox

LOG_STD_MIN = -20.0
LOG_STD_MAX = 2.0
"""Bounds of the log standard deviation before tanh (CORL, SAC's code)."""

_INITIAL_LOG_STD = -1.0
"""CORL's and JaxCQL's `log_std_offset`, here the starting bias of the head."""
_EDGE = 1e-6


def init_actor(
    observation_size: int,
    action_size: int,
    hidden: Sequence[int],
    generators: Sequence[torch.Generator],
    init: Init,
) -> Params:
    """An actor `[S, …]` whose head gives mean and log standard deviation, `2A` numbers."""
    sizes = [observation_size, *hidden, 2 * action_size]
    params = init_mlp(sizes, generators, init)
    params[f"{depth(params) - 1}.bias"][..., action_size:] = _INITIAL_LOG_STD
    return params


@dataclass(frozen=True)
class TanhGaussian:
    """π(·|s): a diagonal Gaussian squashed by tanh onto the action box. `mean`, `log_std`: `[…, A]`."""

    mean: Tensor
    log_std: Tensor
    box: ActionBox

    def __getitem__(self, index: slice | tuple[slice, ...]) -> "TanhGaussian":
        """The distributions of some of the states."""
        return TanhGaussian(self.mean[index], self.log_std[index], self.box)

    def detach(self) -> "TanhGaussian":
        """The same distribution without gradient."""
        return TanhGaussian(self.mean.detach(), self.log_std.detach(), self.box)

    def sample(self, normals: Tensor) -> tuple[Tensor, Tensor]:
        """Reparameterised actions and their log-densities.

        Args:
            normals: standard normal numbers, `[…, A]`, or `[…, N, A]` for N actions per state.

        Returns:
            actions shaped like `normals`, and log π(a|s) without the last dimension. Finite at saturation:
            log(1 − tanh²u) is computed as 2·(log 2 − u − softplus(−2u)) from the pre-tanh u (SAC appendix C).
        """
        mean, log_std = self.mean, self.log_std
        single = normals.dim() == mean.dim()
        if usable(normals) and (single or not mean.requires_grad):
            rows = normals.reshape(mean[..., 0].numel(), -1, mean.shape[-1])
            actions, density = TanhGaussianSample.apply(  # type: ignore[no-untyped-call]
                mean.reshape(len(rows), -1),
                log_std.reshape(len(rows), -1),
                rows,
                self.box.centre,
                self.box.half_range,
            )
            return actions.view(normals.shape), density.view(normals.shape[:-1])
        if not single:
            mean, log_std = mean.unsqueeze(-2), log_std.unsqueeze(-2)
        pre_tanh = torch.addcmul(mean, log_std.exp(), normals)
        return self.box.from_unit(pre_tanh.tanh()), self._log_density(pre_tanh, normals, log_std)

    def log_density(self, actions: Tensor) -> Tensor:
        """The log-density log π(a|s) of given actions, `[…, A]` -> `[…]`.

        Actions on the box's edge, where the density of a tanh policy has no value, are moved inside it by one
        part in a million.
        """
        unit = (actions - self.box.centre) / self.box.half_range
        pre_tanh = unit.clamp(-1 + _EDGE, 1 - _EDGE).atanh()
        normals = (pre_tanh - self.mean) * (-self.log_std).exp()
        return self._log_density(pre_tanh, normals, self.log_std)

    def _log_density(self, pre_tanh: Tensor, normals: Tensor, log_std: Tensor) -> Tensor:
        gaussian = -0.5 * normals.square() - log_std - HALF_LOG_2PI
        squash = 2 * (LOG_2 - pre_tanh - functional.softplus(-2 * pre_tanh))
        return (gaussian - squash - self.box.log_half_range).sum(-1)

    def mode(self) -> Tensor:
        """The deterministic action used in evaluation: tanh of the mean."""
        return self.box.from_unit(self.mean.tanh())


def actor_distribution(actor: Params, observations: Tensor, box: ActionBox) -> TanhGaussian:
    """π(·|s) of every seed at its own `observations`, `[S, R, O]`."""
    mean, log_std = mlp(actor, observations).chunk(2, dim=-1)
    return TanhGaussian(mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX), box)


def bounded_std(log_std: Tensor) -> Tensor:
    """The standard deviation, its logarithm bounded as the density's."""
    return log_std.clamp(LOG_STD_MIN, LOG_STD_MAX).exp()


def gaussian_log_density(mean: Tensor, log_std: Tensor, actions: Tensor) -> Tensor:
    """Log N(a; mean, std) of a diagonal Gaussian, `[…, A]` -> `[…]`; `log_std` is bounded."""
    log_std = log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)
    normals = (actions - mean) * (-log_std).exp()
    return (-0.5 * normals.square() - log_std - HALF_LOG_2PI).sum(-1)
