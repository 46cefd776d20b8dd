"""SAC-N and EDAC (An et al. 2021, arXiv:2110.01548): soft actor-critic with a large, diverse ensemble.

Shape letters: S seeds, B batch, K critics, O observation, A action.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cqlbench.algorithms.algorithm import (
    AlgorithmConfig,
    Batch,
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
    Init,
    Params,
    TanhGaussian,
    action_values,
    critic_values,
    init_critics,
    init_mlp,
    mlp,
)
from cqlbench.algorithms.policies import BoxActions
from cqlbench.algorithms.sac import actor_loss, mean_head, temperature_loss, usual_target_entropy

_LOG_STD = -5.0, 2.0
"""Bounds of the policy's log standard deviation (CORL, the authors)."""


@dataclass
class SACNConfig(AlgorithmConfig):
    """One SAC-N agent, with CORL's values; the number of critics differs by dataset.

    Attributes:
        hidden: hidden layer sizes of actor and critics.
        critics: K (CORL `num_critics`).
        actor_learning_rate: Adam's rate for the actor.
        critic_learning_rate: Adam's rate for the critics.
        temperature_learning_rate: Adam's rate for the log entropy temperature (CORL `alpha_learning_rate`).
        entropy_temperature: SAC's α: its starting value.
        diversity_weight: η of EDAC's penalty (eq. 4).
    """

    FIXED = AlgorithmConfig.FIXED | {"hidden", "critics", "entropy_temperature"}

    name: str = "sac_n"
    hidden: list[int] = field(default_factory=lambda: [256, 256, 256])
    critics: int = 10
    actor_learning_rate: float = 3e-4
    critic_learning_rate: float = 3e-4
    temperature_learning_rate: float = 3e-4
    entropy_temperature: float = 1.0
    diversity_weight: float = 0.0
    normalize_observations: bool = False

    def problems(self) -> Iterator[str]:
        """See `AlgorithmConfig.problems`."""
        yield from super().problems()
        yield from at_least(self, 0, "diversity_weight")
        yield from at_least(self, 2 if self.diversity_weight else 1, "critics")
        yield from positive(self, "entropy_temperature")


@dataclass
class EDACConfig(SACNConfig):
    """One EDAC agent, with CORL's values; critics and weight differ by dataset."""

    name: str = "edac"
    diversity_weight: float = 1.0


class SACN(BoxActions[SACNConfig]):
    """SAC-N and, with a diversity penalty, EDAC."""

    def init(self, generators: Sequence[torch.Generator]) -> tuple[dict[str, Params], tuple[str, ...]]:
        """Hidden biases 0.1, last layers within ± 0.001 (actor) and ± 0.003 (critics)."""
        (O, actions), config = self.spaces, self.config  # noqa: E741
        actor = init_mlp([O, *config.hidden, 2 * actions.size], generators, Init(bias=0.1, last_bound=1e-3))
        critics = init_critics(
            O,
            actions.size,
            config.hidden,
            config.critics,
            generators,
            Init(bias=0.1, last_bound=3e-3, fan_out=True),
        )
        temperature = torch.full((len(generators),), config.entropy_temperature).log()
        return {"actor": actor, "critics": critics, "temperature": {"log": temperature}}, ("critics",)

    def draws(self) -> dict[str, Draw]:
        """An action of the policy for each loss."""
        shape = self.config.batch_size, self.spaces.actions.size
        return {name: Draw("normal", shape) for name in ("temperature", "actor", "target")}

    def stages(self) -> tuple[Stage, ...]:
        """Temperature, actor and critics, each by what the one before left (CORL)."""
        config = self.config
        return (
            Stage(self._temperature_loss, {"temperature": config.temperature_learning_rate}),
            Stage(self._actor_loss, {"actor": config.actor_learning_rate}),
            Stage(self._critic_loss, {"critics": config.critic_learning_rate}, targets=("critics",)),
        )

    def act(self, parameters: Mapping[str, Params], observations: Tensor) -> Tensor:
        """The policy's mode."""
        return self._distribution(parameters["actor"], observations).mode()

    def sample(self, parameters: Mapping[str, Params], observations: Tensor, normals: Tensor) -> Tensor:
        """Actions drawn from the policy."""
        return self._distribution(parameters["actor"], observations).sample(normals)[0]

    def policy(self, parameters: Mapping[str, Params]) -> PolicyNetwork:
        """The actor without its half that gives standard deviations."""
        return mean_head(parameters["actor"], self.spaces.actions.size)

    def activations(self) -> int:
        """Those of the critics at the dataset's actions; for the diversity, gradients as well."""
        config = self.config
        times = 3 if config.diversity_weight else 1
        return times * config.critics * config.batch_size * sum(config.hidden)

    def _distribution(self, actor: Params, observations: Tensor) -> TanhGaussian:
        mean, log_std = mlp(actor, observations).chunk(2, dim=-1)
        return TanhGaussian(mean, log_std.clamp(*_LOG_STD), self.box)

    def _temperature_loss(
        self, networks: Networks, batch: Batch, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        log_temperature = networks.parameters["temperature"]["log"]
        with torch.no_grad():
            policy = self._distribution(networks.parameters["actor"], batch.observations)
            _, log_density = policy.sample(noise["temperature"])
        return temperature_loss(log_temperature, log_density, usual_target_entropy(self.box)), {
            "entropy": -log_density.mean(1),
            "entropy_temperature": log_temperature.detach().exp(),
        }

    def _actor_loss(self, networks: Networks, batch: Batch, noise: Noise) -> tuple[Tensor, dict[str, Tensor]]:
        parameters = networks.parameters
        policy = self._distribution(parameters["actor"], batch.observations)
        actions, log_density = policy.sample(noise["actor"])
        temperature = parameters["temperature"]["log"].exp()
        loss = actor_loss(parameters["critics"], batch.observations, actions, log_density, temperature)
        return loss, {"actor_loss": loss.detach()}

    def _critic_loss(
        self, networks: Networks, batch: Batch, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        config, parameters, states = self.config, networks.parameters, batch.next_observations
        with torch.no_grad():
            actions, log_density = self._distribution(parameters["actor"], states).sample(noise["target"])
            values = critic_values(networks.targets["critics"], states, actions.unsqueeze(2))[..., 0].amin(1)
            values = values - parameters["temperature"]["log"].exp().unsqueeze(1) * log_density
            targets = batch.rewards + config.discount * (1 - batch.terminated) * values  # [S, B]
        found = critic_values(parameters["critics"], batch.observations, batch.actions.unsqueeze(2))[..., 0]
        loss, diagnostics = squared_error(found, targets)
        if config.diversity_weight:
            penalty = diversity_penalty(parameters["critics"], batch)
            loss = loss + config.diversity_weight * penalty
            diagnostics |= {"diversity_penalty": penalty.detach(), "critic_loss": loss.detach()}
        return loss, diagnostics | {"target_value": targets.mean(1)}


def diversity_penalty(critics: Params, batch: Batch) -> Tensor:
    """How alike the critics' gradients are: E Σ_{i≠j} cos(∇ₐQ_i, ∇ₐQ_j) / (K − 1), `[S]` (eq. 3)."""
    K = critics["0.weight"].shape[1]
    actions = batch.actions.unsqueeze(1).repeat(1, K, 1, 1).requires_grad_()  # [S, K, B, A]
    values = action_values(critics, batch.observations, actions)
    (gradients,) = torch.autograd.grad(values.sum(), actions, create_graph=True)
    units = gradients / (gradients.norm(dim=-1, keepdim=True) + 1e-10)
    # Σ_{i≠j} u_i·u_j = ‖Σ u_i‖² − Σ ‖u_i‖²: K products, not K².
    alike = units.sum(1).square().sum(-1) - units.square().sum((1, 3))  # [S, B]
    penalty: Tensor = alike.mean(1) / (K - 1)
    return penalty
