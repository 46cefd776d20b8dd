"""ReBRAC (Tarasov et al. 2023, arXiv:2305.09836): TD3+BC with penalties of their own for actor and critics.

Shape letters: S seeds, B batch, K critics, O observation, A action.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cqlbench.algorithms.algorithm import (
    AlgorithmConfig,
    Batch,
    Column,
    Draw,
    Networks,
    Noise,
    Rows,
    Stage,
    added,
    at_least,
    fractions,
)
from cqlbench.algorithms.critic_losses import smoothed, squared_error
from cqlbench.algorithms.networks import Init, Params, action_values, init_critics, init_mlp
from cqlbench.algorithms.policies import BoxActions


@dataclass
class ReBRACConfig(AlgorithmConfig):
    """One ReBRAC agent, with the authors' values for gym-mujoco (their table 6); weights differ by dataset.

    Attributes:
        hidden: hidden layer sizes of actor and critics.
        actor_learning_rate: Adam's rate for the actor.
        critic_learning_rate: Adam's rate for the critics.
        actor_cloning_weight: β₁, of (π(s) − a)² in the actor's loss (CORL `actor_bc_coef`).
        critic_cloning_weight: β₂, of (π(s′) − a′)² in the targets (CORL `critic_bc_coef`).
        normalize_values: divide the values in the actor's loss by their mean size (CORL `normalize_q`).
        layer_norm: layer norms in the critics (CORL `critic_ln`).
        policy_noise: standard deviation of the noise on the target's action, in half widths of the box.
        noise_clip: where that noise is clipped, in half widths of the box.
        policy_period: gradient steps of the critics for each of the actor and of all targets (CORL
            `policy_freq`).
        cloning_floor: β₁ falls linearly to this share of itself (CORL `min_decay_coef`); 1: constant.
        decay_start: gradient step at which β₁ begins to fall.
        decay_steps: gradient steps in which β₁ would fall to 0; `cloning_floor` stops it before.
    """

    FIXED = AlgorithmConfig.FIXED | {"hidden", "layer_norm"}

    name: str = "rebrac"
    hidden: list[int] = field(default_factory=lambda: [256, 256, 256])
    actor_learning_rate: float = 1e-3
    critic_learning_rate: float = 1e-3
    actor_cloning_weight: float = 0.01
    critic_cloning_weight: float = 0.01
    normalize_values: bool = True
    layer_norm: bool = True
    policy_noise: float = 0.2
    noise_clip: float = 0.5
    policy_period: int = 2
    batch_size: int = 1024
    normalize_observations: bool = False
    cloning_floor: float = added(1.0)
    decay_start: int = added(0)
    decay_steps: int = added(1_000_000)

    def problems(self) -> Iterator[str]:
        """See `AlgorithmConfig.problems`."""
        yield from super().problems()
        yield from at_least(
            self,
            0,
            "actor_cloning_weight",
            "critic_cloning_weight",
            "policy_noise",
            "noise_clip",
            "decay_start",
        )
        yield from at_least(self, 1, "policy_period", "decay_steps")
        yield from fractions(self, "cloning_floor")


class ReBRAC(BoxActions[ReBRACConfig]):
    """ReBRAC. The actor's target follows the updated actor; in CORL it lags one update behind."""

    def init(self, generators: Sequence[torch.Generator]) -> tuple[dict[str, Params], tuple[str, ...]]:
        """As EDAC's authors begin: hidden biases 0.1, last layers within ± 0.001 (actor) and ± 0.003."""
        (O, actions), config = self.spaces, self.config  # noqa: E741
        actor = init_mlp([O, *config.hidden, actions.size], generators, Init(bias=0.1, last_bound=1e-3))
        critics = init_critics(
            O,
            actions.size,
            config.hidden,
            2,
            generators,
            Init(bias=0.1, last_bound=3e-3, norm=config.layer_norm),
        )
        return {"actor": actor, "critics": critics}, ("actor", "critics")

    def draws(self) -> dict[str, Draw]:
        """The noise on the target's action."""
        return {"smoothing": Draw("normal", (self.config.batch_size, self.spaces.actions.size))}

    def stages(self) -> tuple[Stage, ...]:
        """The critics, then, rarely, the actor and all targets."""
        config = self.config
        return (
            Stage(self._critic_loss, {"critics": config.critic_learning_rate}),
            Stage(
                self._actor_loss,
                {"actor": config.actor_learning_rate},
                every=config.policy_period,
                targets=("actor", "critics"),
            ),
        )

    def columns(self) -> dict[str, Column]:
        """The actions taken next."""
        return {"next_actions": next_actions}

    def rows(self, rows: Rows) -> NDArray[np.bool_] | None:
        """All but those cut off by time, whose next action is not known."""
        return ~rows.lasts | rows.terminated

    def _critic_loss(
        self, networks: Networks, batch: Batch, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Targets r + γ·(1 − d)·(min_k Q̄_k(s′, ã′) − β₂·(ã′ − a′)²), ã′ smoothed (eq. 4)."""
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
            following = batch.extra["next_actions"]
            distance = (actions - following).square().sum(-1)
            distance = distance.where(following.isfinite().all(-1), 0.0)  # a collected row's is not known yet
            values = values - config.critic_cloning_weight * distance
            targets = batch.rewards + config.discount * (1 - batch.terminated) * values  # [S, B]
        return squared_error(
            action_values(networks.parameters["critics"], batch.observations, batch.actions), targets
        )

    def _actor_loss(self, networks: Networks, batch: Batch, noise: Noise) -> tuple[Tensor, dict[str, Tensor]]:
        """E [β₁·(π(s) − a)² − λ·min_k Q_k(s, π(s))], λ = 1 / E|min_k Q_k| (eq. 5)."""
        del noise
        config = self.config
        actions = self.act(networks.parameters, batch.observations)
        frozen = {name: each.detach() for name, each in networks.parameters["critics"].items()}
        values = action_values(frozen, batch.observations, actions).amin(1)  # [S, B]
        cloning = (actions - batch.actions).square().sum(-1).mean(1)
        scaled = values.mean(1)
        if config.normalize_values:
            scaled = scaled / values.detach().abs().mean(1)
        weight: float | Tensor = config.actor_cloning_weight
        if config.cloning_floor < 1:
            done = networks.steps - 1 - config.decay_start
            weight = weight * (1 - done / config.decay_steps).clamp(config.cloning_floor, 1)
        loss = weight * cloning - scaled
        return loss, {"actor_loss": loss.detach(), "cloning_error": cloning.detach()}


def next_actions(rows: Rows) -> NDArray[np.float32]:
    """The action after each row's, `[T, A]`; −∞ where time cut it off: nobody has seen it."""
    following = np.roll(rows.actions, -1, axis=0)
    following[rows.lasts & ~rows.terminated] = -np.inf
    return following
