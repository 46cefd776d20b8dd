"""Seed-batched networks as pure functions of their parameters.

Shape letters: S seeds, B batch, K critics, N sampled actions per proposal, M actions per state,
O observation, A action, H hidden. Every parameter has a leading S; seeds share nothing.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cqlbench.algorithms.networks.ensemble import EnsembleValues

Params = dict[str, Tensor]
"""`{layer}.weight` `[S, (K,) in, out]` and `{layer}.bias` `[S, (K,) 1, out]`, layers counted from 0."""

LOG_STD_MIN = -20.0
LOG_STD_MAX = 2.0
"""Bounds of the log standard deviation before tanh (CORL, SAC's code)."""

_INITIAL_LOG_STD = -1.0
"""CORL's and JaxCQL's `log_std_offset`, here the starting bias of the head."""
_LOG_2 = 0.6931471805599453
_HALF_LOG_2PI = 0.9189385332046727
_EDGE = 1e-6


def depth(params: Params) -> int:
    """Number of linear layers."""
    return len(params) // 2


def mlp(params: Params, inputs: Tensor) -> Tensor:
    """A ReLU MLP, one batched matrix product per layer.

    Args:
        params: parameters with batch dimensions `…` (`[S]` or `[S, K]`).
        inputs: `[…, R, in]`, the same batch dimensions.

    Returns:
        `[…, R, out]`.
    """
    hidden = inputs
    for layer in range(depth(params)):
        if layer:
            hidden = functional.relu(hidden)
        hidden = affine(hidden, params[f"{layer}.weight"], params[f"{layer}.bias"])
    return hidden


def affine(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`inputs @ weight + bias` over all leading dimensions, as one `baddbmm`."""
    out = torch.baddbmm(bias.flatten(0, -3), inputs.flatten(0, -3), weight.flatten(0, -3))
    return out.view(*weight.shape[:-2], *out.shape[-2:])


def init_mlp(
    sizes: Sequence[int],
    generators: Sequence[torch.Generator],
    *,
    members: int = 0,
    orthogonal: bool,
    last_gain: float = 0.01,
) -> Params:
    """Fresh parameters; each seed draws from its own generator, so it starts alike in any company.

    Args:
        sizes: input size, hidden sizes, output size.
        generators: one per seed, `S`.
        members: K; 0 leaves the ensemble dimension out.
        orthogonal: orthogonal weights with gain √2 and zero biases (CORL `orthogonal_init`); otherwise
            `nn.Linear`'s uniform init, and Xavier's for the last layer.
        last_gain: gain of the last layer, whose bias is zero either way.
    """
    seeds = [
        [_init_one(sizes, generator, orthogonal, last_gain) for _ in range(max(members, 1))]
        for generator in generators
    ]
    names = seeds[0][0].keys()
    stacked = {
        name: torch.stack([torch.stack([member[name] for member in seed]) for seed in seeds])
        for name in names
    }
    return stacked if members else {name: tensor.squeeze(1) for name, tensor in stacked.items()}


def _init_one(sizes: Sequence[int], generator: torch.Generator, orthogonal: bool, last_gain: float) -> Params:
    params = {}
    last = len(sizes) - 2
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        weight = torch.empty(fan_out, fan_in)
        bias = torch.zeros(1, fan_out)
        if orthogonal:
            gain = last_gain if layer == last else 2**0.5
            torch.nn.init.orthogonal_(weight, gain=gain, generator=generator)
        elif layer == last:
            torch.nn.init.xavier_uniform_(weight, gain=last_gain, generator=generator)
        else:
            bound = fan_in**-0.5
            weight.uniform_(-bound, bound, generator=generator)
            bias.uniform_(-bound, bound, generator=generator)
        params[f"{layer}.weight"] = weight.T.contiguous()
        params[f"{layer}.bias"] = bias
    return params


def init_actor(
    observation_size: int,
    action_size: int,
    hidden: Sequence[int],
    generators: Sequence[torch.Generator],
    *,
    orthogonal: bool,
    last_gain: float = 0.01,
) -> Params:
    """An actor `[S, …]` whose head gives mean and log standard deviation, `2A` numbers."""
    sizes = [observation_size, *hidden, 2 * action_size]
    params = init_mlp(sizes, generators, orthogonal=orthogonal, last_gain=last_gain)
    params[f"{depth(params) - 1}.bias"][..., action_size:] = _INITIAL_LOG_STD
    return params


def init_critics(
    observation_size: int,
    action_size: int,
    hidden: Sequence[int],
    critics: int,
    generators: Sequence[torch.Generator],
    *,
    orthogonal: bool,
    last_gain: float = 0.01,
) -> Params:
    """An ensemble of critics, `[S, K, …]`."""
    sizes = [observation_size + action_size, *hidden, 1]
    return init_mlp(sizes, generators, members=critics, orthogonal=orthogonal, last_gain=last_gain)


@dataclass(frozen=True)
class ActionBox:
    """The box of actions: `centre ± half_range`, each `[A]`.

    Attributes:
        log_volume: log of the box's volume, Σ log(2 · half_range): minus a uniform action's log-density.
    """

    centre: Tensor
    half_range: Tensor
    log_volume: Tensor

    @classmethod
    def from_bounds(cls, low: Tensor, high: Tensor) -> "ActionBox":
        """The box between `low` and `high`, each `[A]`."""
        half_range = (high - low) / 2
        return cls((high + low) / 2, half_range, (2 * half_range).log().sum())

    @property
    def size(self) -> int:
        """`A`."""
        return self.centre.numel()

    @property
    def low(self) -> Tensor:
        """The least action, `[A]`."""
        return self.centre - self.half_range

    @property
    def high(self) -> Tensor:
        """The greatest action, `[A]`."""
        return self.centre + self.half_range

    def to(self, device: torch.device) -> "ActionBox":
        """The same box on `device`."""
        return ActionBox(self.centre.to(device), self.half_range.to(device), self.log_volume.to(device))

    def from_unit(self, unit: Tensor) -> Tensor:
        """Map `[-1, 1]` onto the box."""
        return torch.addcmul(self.centre, unit, self.half_range)


@dataclass(frozen=True)
class DiscreteActions:
    """`size` actions to choose from. One is a one-hot vector, `[A]`."""

    size: int

    def to(self, device: torch.device) -> "DiscreteActions":
        """Itself: there are no tensors in it."""
        del device
        return self


ActionSpace = ActionBox | DiscreteActions


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
        if normals.dim() > mean.dim():
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
        gaussian = -0.5 * normals.square() - log_std - _HALF_LOG_2PI
        squash = 2 * (_LOG_2 - pre_tanh - functional.softplus(-2 * pre_tanh))
        return (gaussian - squash - self.box.half_range.log()).sum(-1)

    def mode(self) -> Tensor:
        """The deterministic action used in evaluation: tanh of the mean."""
        return self.box.from_unit(self.mean.tanh())


def actor_distribution(actor: Params, observations: Tensor, box: ActionBox) -> TanhGaussian:
    """π(·|s) of every seed at its own `observations`, `[S, R, O]`."""
    mean, log_std = mlp(actor, observations).chunk(2, dim=-1)
    return TanhGaussian(mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX), box)


def critic_values(critics: Params, observations: Tensor, actions: Tensor) -> Tensor:
    """Q(s, a) of all critics for M actions per state.

    Args:
        critics: parameters `[S, K, …]`.
        observations: `[S, B, O]`.
        actions: `[S, B, M, A]`.

    Returns:
        `[S, K, B, M]`.
    """
    S, B, M, _ = actions.shape
    K = critics["0.weight"].shape[1]
    states = observations.unsqueeze(2).expand(S, B, M, observations.shape[-1])
    ones = actions.new_ones(()).expand(S, B, M, 1)
    inputs = torch.cat([states, actions, ones], dim=-1)  # [S, B, M, O+A+1]
    shared = inputs.view(S, 1, B * M, -1).expand(S, K, B * M, -1).flatten(0, 1)
    first = torch.cat([critics["0.weight"], critics["0.bias"]], dim=2)  # [S, K, O+A+1, H]
    rest = [
        critics[f"{layer}.{part}"].flatten(0, 1)
        for layer in range(1, depth(critics))
        for part in ("weight", "bias")
    ]
    values: Tensor = EnsembleValues.apply(shared, first.flatten(0, 1), *rest)  # type: ignore[no-untyped-call]
    return values.view(S, K, B, M)
