"""Soft actor-critic (Haarnoja et al. 2018, arXiv:1812.05905; "SAC" below), which CQL is built on.

Shape letters: S seeds, B batch, K critics, O observation, A action.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cqlbench.algorithms.algorithm import (
    AlgorithmConfig,
    Batch,
    C,
    Draw,
    Networks,
    Noise,
    PolicyNetwork,
    Stage,
    at_least,
    positive,
)
from cqlbench.algorithms.critic_losses import squared_error
from cqlbench.algorithms.networks import (
    ActionBox,
    Init,
    Params,
    TanhGaussian,
    actor_distribution,
    critic_values,
    depth,
    init_actor,
    init_critics,
)
from cqlbench.algorithms.policies import BoxActions


@dataclass
class SACConfig(AlgorithmConfig):
    """One soft actor-critic agent (SAC appendix D).

    Attributes:
        actor_hidden: hidden layer sizes of the actor.
        critic_hidden: hidden layer sizes of every critic.
        critics: K, size of the critic ensemble.
        orthogonal_critics: orthogonal weights with gain √2 and zero biases (CORL `orthogonal_init`);
            otherwise `nn.Linear`'s init, with Xavier weights and a zero bias in the last layer.
        orthogonal_actor: the same for the actor, which CORL's CQL leaves at `nn.Linear`'s init, and its
            Cal-QL does not.
        last_layer_gain: gain of the last layer's weights in actor and critics (CORL: 0.01 in CQL, √2 in
            Cal-QL).
        actor_learning_rate: Adam's rate for the actor.
        critic_learning_rate: Adam's rate for the critics.
        temperature_learning_rate: Adam's rate for the log entropy temperature.
        entropy_temperature: SAC's α: its starting value.
        learn_entropy_temperature: tune it automatically (SAC section 5); otherwise it stays where it starts.
        entropy_multiplier: factor of the entropy temperature wherever it is used (CORL `alpha_multiplier`).
        target_entropy: `None` means −A (SAC appendix D), plus the log of the action box's scale where it is
            not [-1, 1].
        backup_entropy: subtract the entropy term in the target (SAC eq. 3); CQL's code and CORL's do not.
        target_update_period: gradient steps between polyak updates.
    """

    FIXED = AlgorithmConfig.FIXED | {
        "actor_hidden", "critic_hidden", "critics", "orthogonal_critics", "orthogonal_actor",
        "last_layer_gain", "entropy_temperature",
    }  # fmt: skip

    name: str = "sac"
    actor_hidden: list[int] = field(default_factory=lambda: [256, 256])
    critic_hidden: list[int] = field(default_factory=lambda: [256, 256])
    critics: int = 2
    orthogonal_critics: bool = False
    orthogonal_actor: bool = False
    last_layer_gain: float = 0.01
    actor_learning_rate: float = 3e-4
    critic_learning_rate: float = 3e-4
    temperature_learning_rate: float = 3e-4
    entropy_temperature: float = 1.0
    learn_entropy_temperature: bool = True
    entropy_multiplier: float = 1.0
    target_entropy: float | None = None
    backup_entropy: bool = True
    target_update_period: int = 1
    normalize_observations: bool = False

    def problems(self) -> Iterator[str]:
        """See `AlgorithmConfig.problems`."""
        yield from super().problems()
        yield from at_least(self, 1, "critics", "target_update_period")
        yield from at_least(self, 0, "entropy_multiplier")
        yield from positive(self, "entropy_temperature", "last_layer_gain")


class ActorCritic(BoxActions[C]):
    """A tanh-Gaussian actor, an ensemble of critics with targets, and a learned entropy temperature."""

    config: SACConfig  # type: ignore[assignment]  # C is one

    def init(self, generators: Sequence[torch.Generator]) -> tuple[dict[str, Params], tuple[str, ...]]:
        """See `Algorithm.init`."""
        config, (observation_size, actions) = self.config, self.spaces
        actor = init_actor(
            observation_size,
            actions.size,
            config.actor_hidden,
            generators,
            Init(orthogonal=config.orthogonal_actor, last_gain=config.last_layer_gain),
        )
        critics = init_critics(
            observation_size,
            actions.size,
            config.critic_hidden,
            config.critics,
            generators,
            Init(orthogonal=config.orthogonal_critics, last_gain=config.last_layer_gain),
        )
        temperature = torch.full((len(generators),), config.entropy_temperature).log()
        return {"actor": actor, "critics": critics, "temperature": {"log": temperature}}, ("critics",)

    def rates(self) -> dict[str, float]:
        """Learning rates of the groups that move."""
        config = self.config
        rates = {"actor": config.actor_learning_rate, "critics": config.critic_learning_rate}
        if config.learn_entropy_temperature:
            rates["temperature"] = config.temperature_learning_rate
        return rates

    def act(self, parameters: Mapping[str, Params], observations: Tensor) -> Tensor:
        """The policy's mode."""
        return actor_distribution(parameters["actor"], observations, self.box).mode()

    def sample(self, parameters: Mapping[str, Params], observations: Tensor, normals: Tensor) -> Tensor:
        """Actions drawn from the policy."""
        policy = actor_distribution(parameters["actor"], observations, self.box)
        return self.box.from_unit(torch.addcmul(policy.mean, policy.log_std.exp(), normals).tanh())

    def policy(self, parameters: Mapping[str, Params]) -> PolicyNetwork:
        """The actor without its half that gives standard deviations."""
        return mean_head(parameters["actor"], self.spaces.actions.size)


def mean_head(actor: Params, size: int) -> PolicyNetwork:
    """A tanh-Gaussian actor without its half that gives standard deviations."""
    last = depth(actor) - 1
    means = {f"{last}.{part}": actor[f"{last}.{part}"][..., :size] for part in ("weight", "bias")}
    return PolicyNetwork({**actor, **means}, "tanh")


class SAC(ActorCritic[SACConfig]):
    """Soft actor-critic."""

    def draws(self) -> dict[str, Draw]:
        """See `Algorithm.draws`."""
        single = (self.config.batch_size, self.spaces.actions.size)
        return {"actor": Draw("normal", single), "target": Draw("normal", (single[0], 1, single[1]))}

    def stages(self) -> tuple[Stage, ...]:
        """All losses at the same parameters, as CORL's CQL takes them."""
        period = self.config.target_update_period
        return (Stage(self._loss, self.rates(), targets=("critics",), target_period=period),)

    def activations(self) -> int:
        """Those of the critics at the dataset's actions and at the actor's, and of the actor."""
        config = self.config
        critics = 2 * config.critics * sum(config.critic_hidden)
        return config.batch_size * (critics + sum(config.actor_hidden))

    def _loss(self, networks: Networks, batch: Batch, noise: Noise) -> tuple[Tensor, dict[str, Tensor]]:
        found = actor_losses(networks, batch, noise["actor"], self.config, self.box)
        targets = targets_of(networks, batch, noise["target"], found, self.config)
        values = critic_values(networks.parameters["critics"], batch.observations, batch.actions.unsqueeze(2))
        critic, diagnostics = squared_error(values[..., 0], targets)
        diagnostics |= found.diagnostics | {"target_value": targets.mean(1)}
        return critic + found.actor + found.temperature, diagnostics


@dataclass(frozen=True)
class ActorLosses:
    """What the actor's side of a step gives the critics' side.

    Attributes:
        actor: `[S]`.
        temperature: `[S]`.
        policy: π(·|s), with gradient.
        next_policy: π(·|s′), without.
        log_density: log π(a|s) of the sampled action, `[S, B]`.
        entropy_temperature: `[S]`, multiplier included, detached.
    """

    actor: Tensor
    temperature: Tensor
    policy: TanhGaussian
    next_policy: TanhGaussian
    log_density: Tensor
    entropy_temperature: Tensor

    @property
    def diagnostics(self) -> dict[str, Tensor]:
        """`[S]` each."""
        return {
            "actor_loss": self.actor.detach(),
            "entropy": -self.log_density.detach().mean(1),
            "entropy_temperature": self.entropy_temperature,
        }


def actor_losses(
    networks: Networks, batch: Batch, normals: Tensor, config: SACConfig, box: ActionBox
) -> ActorLosses:
    """The losses of actor and entropy temperature.

    Args:
        networks: parameters.
        batch: transitions.
        normals: `[S, B, A]` standard normal: the action of both losses.
        config: the algorithm's settings.
        box: the action box.
    """
    actor, log_temperature = networks.parameters["actor"], networks.parameters["temperature"]["log"]
    policy = actor_distribution(actor, batch.observations, box)
    with torch.no_grad():
        next_policy = actor_distribution(actor, batch.next_observations, box)
    temperature = log_temperature.detach().exp() * config.entropy_multiplier  # [S]
    actions, log_density = policy.sample(normals)  # [S, B, A], [S, B]
    return ActorLosses(
        actor_loss(networks.parameters["critics"], batch.observations, actions, log_density, temperature),
        temperature_loss(log_temperature, log_density, target_entropy(config, box)),
        policy,
        next_policy,
        log_density,
        temperature,
    )


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


def temperature_loss(log_temperature: Tensor, log_density: Tensor, target_entropy: Tensor) -> Tensor:
    """−log α · E[log π(a|s) + target entropy]: SAC eq. 18 with log α for α (SAC's code, CORL)."""
    return -log_temperature * (log_density.detach() + target_entropy).mean(1)


@torch.no_grad()
def targets_of(
    networks: Networks,
    batch: Batch,
    normals: Tensor,
    found: ActorLosses,
    config: SACConfig,
) -> Tensor:
    """The targets y = r + γ·(1 − terminated)·(min_k Q̄_k(s′, a′) [− α·log π(a′|s′)]), a′ ~ π(·|s′); `[S, B]`.

    With several a′ per state (`normals` `[S, B, M, A]`, CQL's `max_q_backup`) the one of the largest min_k
    counts. The entropy term enters with `backup_entropy` only (SAC eq. 3; CQL's code leaves it out).
    """
    next_actions, log_density = found.next_policy.sample(normals)  # [S, B, M, A], [S, B, M]
    values = critic_values(networks.targets["critics"], batch.next_observations, next_actions).amin(1)
    values, best = values.max(2)  # [S, B]
    if config.backup_entropy:
        chosen = log_density.gather(2, best.unsqueeze(2)).squeeze(2)
        values = values - found.entropy_temperature.unsqueeze(1) * chosen
    return batch.rewards + config.discount * (1 - batch.terminated) * values


def target_entropy(config: SACConfig, box: ActionBox) -> Tensor:
    """The entropy that the temperature aims at, a scalar."""
    if config.target_entropy is not None:
        return torch.full_like(box.log_scale, config.target_entropy)
    return usual_target_entropy(box)


def usual_target_entropy(box: ActionBox) -> Tensor:
    """−A plus the log of the box's scale, a scalar.

    −A (SAC appendix D) is meant for [-1, 1]: the entropy of a narrower box's policies is lower by that much.
    """
    return box.log_scale - box.size
