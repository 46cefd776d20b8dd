"""CQL(H)'s losses as pure functions, in the paper's names and order (Kumar et al. 2020, arXiv:2006.04779).

Shape letters: S seeds, B batch, K critics, N sampled actions per proposal, O observation, A action.
Each loss returns one number per seed, `[S]`. With `conservative_weight` 0 the losses are soft actor-critic's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cqlbench.algorithms.networks import (
    ActionBox,
    Params,
    TanhGaussian,
    actor_distribution,
    critic_values,
)
from cqlbench.config import CQLConfig


@dataclass(frozen=True)
class Batch:
    """Transitions of one gradient step, every seed with its own.

    Attributes:
        observations: `[S, B, O]`, preprocessed.
        actions: `[S, B, A]`, inside the action box.
        rewards: `[S, B]`, preprocessed.
        next_observations: `[S, B, O]`, preprocessed.
        terminated: `[S, B]` float: 1 where the value of the next observation is 0. Time limits are 0 here.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    next_observations: Tensor
    terminated: Tensor


@dataclass(frozen=True)
class Noise:
    """Every random number of one gradient step.

    Attributes:
        random: `[S, B, N, A]` uniform on [-1, 1): the uniform proposals, scaled to the box.
        current: `[S, B, N, A]` standard normal: proposals from π(·|s).
        next: `[S, B, N, A]` standard normal: proposals from π(·|s′).
        actor: `[S, B, A]` standard normal: the action in the actor's and the temperature's loss.
        target: `[S, B, A]` standard normal: the action a′ in the Bellman target.
    """

    random: Tensor
    current: Tensor
    next: Tensor
    actor: Tensor
    target: Tensor


@dataclass(frozen=True)
class Losses:
    """What one gradient step minimises, and what it reports. All `[S]` (gap: mean over B and K)."""

    critic: Tensor
    actor: Tensor
    temperature: Tensor
    diagnostics: dict[str, Tensor]

    def total(self) -> Tensor:
        """The scalar whose gradient is each seed's own: seeds share no parameter."""
        return (self.critic + self.actor + self.temperature).sum()


@dataclass(frozen=True)
class Networks:
    """The parameters that the losses read. Gradients flow into all but `target_critics`."""

    actor: Params
    critics: Params
    target_critics: Params
    log_temperature: Tensor


def losses(networks: Networks, batch: Batch, noise: Noise, config: CQLConfig, box: ActionBox) -> Losses:
    """All losses of one gradient step, at the same parameters (CORL's order: no network moves in between).

    Args:
        networks: parameters, leading dimension S.
        batch: transitions.
        noise: every random number; with a fixed noise the result is a function of the rest.
        config: the algorithm's settings.
        box: the action box.
    """
    policy = actor_distribution(networks.actor, batch.observations, box)
    with torch.no_grad():
        next_policy = actor_distribution(networks.actor, batch.next_observations, box)
    temperature = networks.log_temperature.detach().exp()  # [S]

    actions, log_density = policy.sample(noise.actor)  # [S, B, A], [S, B]
    actor = actor_loss(networks.critics, batch.observations, actions, log_density, temperature)
    entropy_temperature = temperature_loss(
        networks.log_temperature, log_density, _target_entropy(config, box)
    )
    with torch.no_grad():
        targets = bellman_targets(
            networks.target_critics, next_policy, batch, noise.target, temperature, config
        )  # [S, B]
    critic, diagnostics = critic_loss(
        networks.critics, batch, policy.detach(), next_policy, noise, targets, config
    )
    diagnostics |= {
        "actor_loss": actor.detach(),
        "entropy": -log_density.detach().mean(1),
        "entropy_temperature": temperature,
        "target_value": targets.mean(1),
    }
    return Losses(critic, actor, entropy_temperature, diagnostics)


def actor_loss(
    critics: Params, observations: Tensor, actions: Tensor, log_density: Tensor, temperature: Tensor
) -> Tensor:
    """E[α·log π(a|s) − min_k Q_k(s, a)] (SAC eq. 7); the critics' parameters get no gradient.

    Args:
        critics: `[S, K, …]`.
        observations: `[S, B, O]`.
        actions: `[S, B, A]`, reparameterised.
        log_density: `[S, B]`.
        temperature: `[S]`, detached.
    """
    frozen = {name: tensor.detach() for name, tensor in critics.items()}
    values = critic_values(frozen, observations, actions.unsqueeze(2)).squeeze(3).amin(1)  # [S, B]
    return (temperature.unsqueeze(1) * log_density - values).mean(1)


def temperature_loss(log_temperature: Tensor, log_density: Tensor, target_entropy: float) -> Tensor:
    """−log α · E[log π(a|s) + target entropy]: SAC eq. 18 with log α for α (SAC's code, CORL)."""
    return -log_temperature * (log_density.detach() + target_entropy).mean(1)


def bellman_targets(
    target_critics: Params,
    next_policy: TanhGaussian,
    batch: Batch,
    normals: Tensor,
    temperature: Tensor,
    config: CQLConfig,
) -> Tensor:
    """The targets y = r + γ·(1 − terminated)·(min_k Q̄_k(s′, a′) [− α·log π(a′|s′)]), a′ ~ π(·|s′); `[S, B]`.

    The entropy term enters with `backup_entropy` only (SAC eq. 3; CQL's code leaves it out).
    """
    next_actions, log_density = next_policy.sample(normals)
    values = critic_values(target_critics, batch.next_observations, next_actions.unsqueeze(2))
    values = values.squeeze(3).amin(1)  # [S, B]
    if config.backup_entropy:
        values = values - temperature.unsqueeze(1) * log_density
    return batch.rewards + config.discount * (1 - batch.terminated) * values


def critic_loss(
    critics: Params,
    batch: Batch,
    policy: TanhGaussian,
    next_policy: TanhGaussian,
    noise: Noise,
    targets: Tensor,
    config: CQLConfig,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Σ_k [ E(Q_k(s,a) − y)² + conservative_weight · E gap_k ] (CQL eq. 4), `[S]`, and its parts.

    Args:
        critics: `[S, K, …]`.
        batch: transitions.
        policy: π(·|s), detached, `[S, B, A]`.
        next_policy: π(·|s′), detached, `[S, B, A]`; its actions are valued at s (CQL appendix F).
        noise: random numbers.
        targets: y, detached, `[S, B]`.
        config: the algorithm's settings.
    """
    data = batch.actions.unsqueeze(2)  # [S, B, 1, A]
    conservative = config.conservative_weight != 0
    if conservative:
        actions, log_density = proposals(policy, next_policy, noise)
        values = critic_values(critics, batch.observations, torch.cat([data, actions], dim=2))
    else:
        values = critic_values(critics, batch.observations, data)
    data_values = values[..., 0]  # [S, K, B]
    td = (data_values - targets.unsqueeze(1)).square().mean(2)  # [S, K]
    loss = td.sum(1)
    diagnostics = {"td_loss": td.detach().mean(1), "data_value": data_values.detach().mean((1, 2))}
    if conservative:
        gap = conservative_gap(values[..., 1:], log_density, data_values, config.cql_temperature)
        gap = gap.mean(2)  # [S, K]
        loss = loss + config.conservative_weight * gap.sum(1)
        diagnostics["conservative_gap"] = gap.detach().mean(1)
    return loss, diagnostics | {"critic_loss": loss.detach()}


@torch.no_grad()
def proposals(policy: TanhGaussian, next_policy: TanhGaussian, noise: Noise) -> tuple[Tensor, Tensor]:
    """The 3N sampled actions per state and their log-densities, without gradient (CQL appendix F).

    Returns:
        actions `[S, B, 3N, A]` in the order uniform, current, next; log-densities `[S, B, 3N]`.
    """
    box = policy.box
    random = box.from_unit(noise.random)
    current, current_density = policy.sample(noise.current)
    following, following_density = next_policy.sample(noise.next)
    uniform_density = (-box.log_volume).expand_as(current_density)
    return (
        torch.cat([random, current, following], dim=2),
        torch.cat([uniform_density, current_density, following_density], dim=2),
    )


def conservative_gap(
    values: Tensor, log_density: Tensor, data_values: Tensor, cql_temperature: float
) -> Tensor:
    """T · logsumexp over 3N of (Q(s,a) − log density)/T  −  Q(s, a_data), `[S, K, B]` (CQL appendix F).

    All three groups stand in one logsumexp. The constant −T·log(3N) is left out, as in the paper's code.

    Args:
        values: `[S, K, B, 3N]`.
        log_density: `[S, B, 3N]`.
        data_values: `[S, K, B]`.
        cql_temperature: T.
    """
    weighted = (values - log_density.unsqueeze(1)) / cql_temperature
    return cql_temperature * weighted.logsumexp(-1) - data_values


def _target_entropy(config: CQLConfig, box: ActionBox) -> float:
    return float(-box.centre.numel()) if config.target_entropy is None else config.target_entropy
