"""CQL's losses as pure functions, in the paper's names and order (Kumar et al. 2020, arXiv:2006.04779).

Shape letters: S seeds, B batch, K critics, N sampled actions per proposal, O observation, A action.
Each loss returns one number per seed, `[S]`. With `conservative_weight` 0 the losses are soft actor-critic's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cqlbench.algorithms.algorithm import Batch, Networks, Noise
from cqlbench.algorithms.cql.config import CQLConfig
from cqlbench.algorithms.critic_losses import squared_error
from cqlbench.algorithms.networks import ActionBox, TanhGaussian, critic_values
from cqlbench.algorithms.sac import actor_losses, targets_of
from cqlbench.core.errors import ConfigError

_LARGEST_MULTIPLIER = 1e6
"""CORL's and the paper's code's bound."""


@dataclass(frozen=True)
class Losses:
    """What one gradient step minimises, and what it reports.

    All `[S]`; `multiplier` is `None` without `lagrange`, and without a penalty.
    """

    critic: Tensor
    actor: Tensor
    temperature: Tensor
    multiplier: Tensor | None
    diagnostics: dict[str, Tensor]

    def total(self) -> Tensor:
        """Their sum: each depends on parameters of its own."""
        total = self.critic + self.actor + self.temperature
        return total if self.multiplier is None else total + self.multiplier


def losses(networks: Networks, batch: Batch, noise: Noise, config: CQLConfig, box: ActionBox) -> Losses:
    """All losses of one gradient step, at the same parameters (CORL's order: no network moves in between).

    With `calibrated`, `returns_to_go` are among the batch's columns. The noise is `CQL.draws`': with it fixed
    the result is a function of the rest.

    Raises:
        ConfigError: `config` is calibrated, and the batch holds no returns-to-go.
    """
    found = actor_losses(networks, batch, noise["actor"], config, box)
    actor = found.actor
    if config.bc_steps:
        cloning = cloning_loss(found.policy, batch.actions, found.log_density, found.entropy_temperature)
        actor = torch.where(networks.steps <= config.bc_steps, cloning, actor)
    targets = targets_of(networks, batch, noise["target"], found, config)  # [S, B]
    critic, gap, diagnostics = critic_loss(
        networks, batch, found.policy.detach(), found.next_policy, noise, targets, config
    )
    diagnostics |= found.diagnostics | {"actor_loss": actor.detach(), "target_value": targets.mean(1)}
    multiplier = None
    if config.lagrange and gap is not None:
        log_multiplier = networks.parameters["multiplier"]["log"]
        multiplier = multiplier_loss(log_multiplier, gap.detach(), config)
        diagnostics["multiplier"] = multiplier_of(log_multiplier).detach()
    return Losses(critic, actor, found.temperature, multiplier, diagnostics)


def cloning_loss(policy: TanhGaussian, actions: Tensor, log_density: Tensor, temperature: Tensor) -> Tensor:
    """E[α·log π(a|s) − log π(a_data|s)]: the actor's loss during `bc_steps` (CORL)."""
    return (temperature.unsqueeze(1) * log_density - policy.log_density(actions)).mean(1)


def critic_loss(
    networks: Networks,
    batch: Batch,
    policy: TanhGaussian,
    next_policy: TanhGaussian,
    noise: Noise,
    targets: Tensor,
    config: CQLConfig,
) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
    """Σ_k [ E(Q_k(s,a) − y)² + conservative_weight · penalty_k ] (CQL eq. 4), `[S]`.

    The penalty is the mean gap, or with `lagrange` α′ · (mean gap − τ), α′ without gradient.

    Args:
        networks: parameters; gradients flow into `critics` alone.
        batch: transitions.
        policy: π(·|s), detached, `[S, B, A]`.
        next_policy: π(·|s′), detached, `[S, B, A]`; its actions are valued at s (CQL appendix F).
        noise: random numbers.
        targets: y, detached, `[S, B]`.
        config: the algorithm's settings.

    Returns:
        The loss, the mean gap `[S, K]` (`None` without a penalty), and diagnostics.
    """
    critics, data = networks.parameters["critics"], batch.actions.unsqueeze(2)  # data: [S, B, 1, A]
    if config.conservative_weight == 0:
        values = critic_values(critics, batch.observations, data)
        loss, diagnostics = squared_error(values[..., 0], targets)
        return loss, None, diagnostics
    actions, log_density = proposals(policy, next_policy, noise, config)
    values = critic_values(critics, batch.observations, torch.cat([data, actions], dim=2))
    of_data, proposed = values.split_with_sizes([1, actions.shape[2]], dim=-1)  # [S, K, B, 1], [S, K, B, 3N]
    of_data = of_data.squeeze(-1)
    loss, diagnostics = squared_error(of_data, targets)
    if config.calibrated:
        proposed, diagnostics["calibrated_fraction"] = calibrate(proposed, batch.extra.get("returns_to_go"))
    gap = conservative_gap(proposed, log_density, of_data, config).mean(2)  # [S, K]
    penalty = gap
    if config.lagrange:
        penalty = multiplier_of(networks.parameters["multiplier"]["log"]).detach().unsqueeze(1) * (
            gap - config.target_action_gap
        )
    loss = loss + config.conservative_weight * penalty.sum(1)
    diagnostics |= {"conservative_gap": gap.detach().mean(1), "critic_loss": loss.detach()}
    return loss, gap, diagnostics


@torch.no_grad()
def proposals(
    policy: TanhGaussian, next_policy: TanhGaussian, noise: Noise, config: CQLConfig
) -> tuple[Tensor, Tensor]:
    """The sampled actions per state and their log-densities, without gradient (CQL appendix F).

    Returns:
        actions `[S, B, 3N, A]` in the order uniform, current, next, and log-densities `[S, B, 3N]`;
        with CQL(ρ) the N current ones alone.
    """
    box = policy.box
    current, current_density = policy.sample(noise["current"])
    if config.variant == "rho":
        return current, current_density
    random = box.from_unit(noise["random"])
    following, following_density = next_policy.sample(noise["next"])
    uniform_density = box.uniform_log_density.expand_as(current_density)
    return (
        torch.cat([random, current, following], dim=2),
        torch.cat([uniform_density, current_density, following_density], dim=2),
    )


def calibrate(values: Tensor, returns_to_go: Tensor | None) -> tuple[Tensor, Tensor]:
    """max(Q(s,a), V^μ(s)) for the policy's proposals (Cal-QL eq. 5.1), V^μ(s) being the row's return-to-go.

    Uniform proposals keep their values, as in the authors' code and CORL's: they stand for no policy.

    Args:
        values: `[S, K, B, 3N]`, in the order of `proposals`.
        returns_to_go: `[S, B]`.

    Returns:
        The values, and the fraction of the policy's that were below their bound, `[S]`.

    Raises:
        ConfigError: there are no returns-to-go.
    """
    if returns_to_go is None:
        raise ConfigError(
            "Cal-QL (calibrated) needs 'returns_to_go' beside every row; cqlbench.data.returns_to_go computes"
            " them."
        )
    N = values.shape[-1] // 3
    uniform, of_policy = values[..., :N], values[..., N:]
    bound = returns_to_go[:, None, :, None].to(values.dtype)  # [S, 1, B, 1]
    fraction = (of_policy.detach() < bound).to(values.dtype).mean((1, 2, 3))
    return torch.cat([uniform, torch.maximum(of_policy, bound)], dim=-1), fraction


def conservative_gap(values: Tensor, log_density: Tensor, data_values: Tensor, config: CQLConfig) -> Tensor:
    """How far sampled actions are valued above the dataset's, per state, `[S, K, B]`, clipped.

    CQL(H), importance-sampled: T · logsumexp over 3N of (Q(s,a) − log density)/T − Q(s, a_data). All three
    groups stand in one logsumexp. The constant −T·log(3N) is left out, as in the paper's code.
    Without importance weights: the densities are left out and Q(s, a_data) joins the sum.
    CQL(ρ): Σ_i w_i Q(s, a_i) − Q(s, a_data), a_i ~ π(·|s), w = softmax(Q/T) held fixed, which has the
    gradient of T · log E_π exp(Q/T).

    Args:
        values: `[S, K, B, 3N]`, or `[S, K, B, N]` for CQL(ρ).
        log_density: the same without K.
        data_values: `[S, K, B]`.
        config: the algorithm's settings.
    """
    temperature = config.cql_temperature
    if config.variant == "rho":
        weights = (values.detach() / temperature).softmax(-1)
        high = (weights * values).sum(-1)
    else:
        if config.importance_sampled:
            values = values - log_density.unsqueeze(1)
        else:
            values = torch.cat([values, data_values.unsqueeze(-1)], dim=-1)
        if temperature == 1:  # the default: two passes over the values less, and two back
            high = values.logsumexp(-1)
        else:
            high = temperature * (values / temperature).logsumexp(-1)
    gap = high - data_values
    if config.gap_clip_min is None and config.gap_clip_max is None:
        return gap
    return gap.clamp(config.gap_clip_min, config.gap_clip_max)


def multiplier_of(log_multiplier: Tensor) -> Tensor:
    """α′ = exp(log α′), at most a million, `[S]`."""
    return log_multiplier.exp().clamp(max=_LARGEST_MULTIPLIER)


def multiplier_loss(log_multiplier: Tensor, gap: Tensor, config: CQLConfig) -> Tensor:
    """−α′ · conservative_weight · mean_k(gap_k − τ): dual gradient ascent on α′ (CQL eq. 30), `[S]`.

    `log_multiplier` is `[S]`; `gap` `[S, K]` is detached, so that the multiplier's gradient cannot leak into
    the critics.
    """
    distance = (gap - config.target_action_gap).mean(1)
    return -multiplier_of(log_multiplier) * config.conservative_weight * distance
