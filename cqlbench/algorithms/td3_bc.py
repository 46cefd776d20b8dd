"""TD3+BC (Fujimoto & Gu 2021, arXiv:2106.06860): TD3 whose actor also clones the dataset's actions.

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
    Stage,
    at_least,
)
from cqlbench.algorithms.critic_losses import smoothed, squared_error
from cqlbench.algorithms.networks import Init, Params, action_values, init_critics, init_mlp
from cqlbench.algorithms.policies import BoxActions


@dataclass
class TD3BCConfig(AlgorithmConfig):
    """One TD3+BC agent, with the paper's values (table 3), which are CORL's.

    Attributes:
        hidden: hidden layer sizes of actor and critics.
        learning_rate: Adam's rate of both.
        value_weight: the paper's α: of the values in the actor's loss, relative to their mean size.
        policy_noise: standard deviation of the noise on the target's action, in half widths of the box.
        noise_clip: where that noise is clipped, in half widths of the box.
        policy_period: gradient steps of the critics for each of the actor and of all targets (CORL
            `policy_freq`).
        exploration_noise: standard deviation of the noise on collected actions (CORL `expl_noise`).
    """

    FIXED = AlgorithmConfig.FIXED | {"hidden"}

    name: str = "td3_bc"
    hidden: list[int] = field(default_factory=lambda: [256, 256])
    learning_rate: float = 3e-4
    value_weight: float = 2.5
    policy_noise: float = 0.2
    noise_clip: float = 0.5
    policy_period: int = 2
    exploration_noise: float = 0.1

    def problems(self) -> Iterator[str]:
        """See `AlgorithmConfig.problems`."""
        yield from super().problems()
        yield from at_least(self, 0, "value_weight", "policy_noise", "noise_clip", "exploration_noise")
        yield from at_least(self, 1, "policy_period")


class TD3BC(BoxActions[TD3BCConfig]):
    """TD3+BC. Targets and the actor move after every `policy_period`-th step of the critics, as in TD3."""

    def init(self, generators: Sequence[torch.Generator]) -> tuple[dict[str, Params], tuple[str, ...]]:
        """See `Algorithm.init`."""
        (O, actions), hidden = self.spaces, self.config.hidden  # noqa: E741
        actor = init_mlp([O, *hidden, actions.size], generators, Init())
        critics = init_critics(O, actions.size, hidden, 2, generators, Init())
        return {"actor": actor, "critics": critics}, ("actor", "critics")

    def draws(self) -> dict[str, Draw]:
        """The noise on the target's action."""
        return {"smoothing": Draw("normal", (self.config.batch_size, self.spaces.actions.size))}

    def stages(self) -> tuple[Stage, ...]:
        """The critics, then, rarely, the actor and all targets."""
        config, period = self.config, self.config.policy_period
        return (
            Stage(self._critic_loss, {"critics": config.learning_rate}),
            Stage(
                self._actor_loss,
                {"actor": config.learning_rate},
                every=period,
                first=period - 1,
                targets=("actor", "critics"),
            ),
        )

    def sample(self, parameters: Mapping[str, Params], observations: Tensor, normals: Tensor) -> Tensor:
        """The policy's action with Gaussian noise."""
        noise = self.config.exploration_noise * self.box.half_range * normals
        return self.box.clamp(self.act(parameters, observations) + noise)

    def _critic_loss(
        self, networks: Networks, batch: Batch, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        with torch.no_grad():
            actions = smoothed(
                self.act(networks.targets, batch.next_observations),
                noise["smoothing"],
                config.policy_noise,
                config.noise_clip,
                self.box,
            )
            values = action_values(networks.targets["critics"], batch.next_observations, actions).amin(1)
            targets = batch.rewards + config.discount * (1 - batch.terminated) * values  # [S, B]
        return squared_error(
            action_values(networks.parameters["critics"], batch.observations, batch.actions), targets
        )

    def _actor_loss(self, networks: Networks, batch: Batch, noise: Noise) -> tuple[Tensor, dict[str, Tensor]]:
        """−λ·E Q₁(s, π(s)) + E (π(s) − a)², λ = α / E|Q₁| (eq. 3, 4)."""
        del noise
        actions = self.act(networks.parameters, batch.observations)
        first = {name: each[:, :1].detach() for name, each in networks.parameters["critics"].items()}
        values = action_values(first, batch.observations, actions).squeeze(1)  # [S, B]
        weight = self.config.value_weight / values.detach().abs().mean(1)
        cloning = (actions - batch.actions).square().mean((1, 2))
        loss = cloning - weight * values.mean(1)
        return loss, {"actor_loss": loss.detach(), "cloning_error": cloning.detach()}
