"""Implicit Q-learning (Kostrikov et al. 2021, arXiv:2110.06169): no value of an action outside the dataset.

Shape letters: S seeds, B batch, K critics, O observation, A action, H hidden.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cqlbench.algorithms.algorithm import (
    Algorithm,
    AlgorithmConfig,
    Batch,
    Draw,
    Networks,
    Noise,
    Schedule,
    Stage,
    at_least,
    cosine,
    fractions,
)
from cqlbench.algorithms.networks import (
    Init,
    Params,
    action_values,
    bounded_std,
    gaussian_log_density,
    init_critics,
    init_mlp,
    mlp,
)
from cqlbench.algorithms.policies import BoxActions, DiscreteActor


@dataclass
class IQLConfig(AlgorithmConfig):
    """One IQL agent, with CORL's values for gym-mujoco (the paper's, appendix B).

    Attributes:
        hidden: hidden layer sizes of actor, value and critics.
        actor_learning_rate: Adam's first rate for the actor, which falls to 0 as half a cosine.
        decay_steps: gradient steps in which the actor's rate falls to 0 (CORL: all of the offline ones); 0:
            it is constant.
        critic_learning_rate: Adam's rate for the critics.
        value_learning_rate: Adam's rate for the value.
        expectile: τ of the value's regression (CORL `iql_tau`).
        inverse_temperature: β of the actor's weights exp(β·(Q − V)) (CORL `beta`).
        largest_weight: upper bound of the actor's weights.
        dropout: share of the actor's hidden units that training leaves out (CORL `actor_dropout`).
        deterministic: regress a deterministic actor; otherwise it is a Gaussian with one learned standard
            deviation for each action dimension (CORL `iql_deterministic`).
        exploration_noise: standard deviation of the noise on a deterministic actor's collected actions, in
            half widths of the box (CORL `expl_noise`).
    """

    FIXED = AlgorithmConfig.FIXED | {"hidden", "deterministic"}

    name: str = "iql"
    hidden: list[int] = field(default_factory=lambda: [256, 256])
    actor_learning_rate: float = 3e-4
    decay_steps: int = 1_000_000
    critic_learning_rate: float = 3e-4
    value_learning_rate: float = 3e-4
    expectile: float = 0.7
    inverse_temperature: float = 3.0
    largest_weight: float = 100.0
    dropout: float = 0.0
    deterministic: bool = False
    exploration_noise: float = 0.03

    def problems(self) -> Iterator[str]:
        """See `AlgorithmConfig.problems`."""
        yield from super().problems()
        yield from at_least(
            self, 0, "inverse_temperature", "largest_weight", "exploration_noise", "decay_steps"
        )
        yield from fractions(self, "expectile", "dropout")
        if self.dropout == 1:
            yield "dropout=1 leaves nothing of the actor."


class _IQL(Algorithm[IQLConfig]):
    """What continuous and discrete actions share. All losses are taken at the same parameters, as in CORL."""

    def draws(self) -> dict[str, Draw]:
        """Which hidden units of the actor are left out."""
        config = self.config
        if not config.dropout:
            return {}
        return {
            f"dropout{layer}": Draw("uniform", (config.batch_size, size))
            for layer, size in enumerate(config.hidden)
        }

    def stages(self) -> tuple[Stage, ...]:
        """One loss."""
        config = self.config
        rate, steps = config.actor_learning_rate, config.decay_steps
        rates: dict[str, float | Schedule] = {
            "actor": cosine(rate, steps) if steps else rate,
            "value": config.value_learning_rate,
            "critics": config.critic_learning_rate,
        }
        return (Stage(self._loss, rates, targets=("critics",)),)

    def values(self, critics: Params, batch: Batch) -> Tensor:
        """Q(s, a) at the dataset's actions, `[S, K, B]`."""
        raise NotImplementedError

    def log_density(self, actor: Params, batch: Batch, factors: Sequence[Tensor]) -> Tensor:
        """Log π(a|s), or minus the squared distance from a deterministic π(s), `[S, B]`."""
        raise NotImplementedError

    def _loss(self, networks: Networks, batch: Batch, noise: Noise) -> tuple[Tensor, dict[str, Tensor]]:
        config, parameters = self.config, networks.parameters
        with torch.no_grad():
            bound = self.values(networks.targets["critics"], batch).amin(1)  # [S, B]
            following = mlp(parameters["value"], batch.next_observations).squeeze(-1)
            targets = batch.rewards + config.discount * (1 - batch.terminated) * following
        advantage = bound - mlp(parameters["value"], batch.observations).squeeze(-1)
        below = (advantage < 0).to(advantage.dtype)
        value = ((config.expectile - below).abs() * advantage.square()).mean(1)  # eq. 5
        found = self.values(parameters["critics"], batch)  # [S, K, B]
        critic = (found - targets.unsqueeze(1)).square().mean((1, 2))  # eq. 6
        weights = (config.inverse_temperature * advantage.detach()).exp().clamp(max=config.largest_weight)
        kept = 1 - config.dropout
        factors = [(noise[name] < 2 * kept - 1).to(found.dtype) / kept for name in self.draws()]
        actor = -(weights * self.log_density(parameters["actor"], batch, factors)).mean(1)  # eq. 7
        return value + critic + actor, {
            "value_loss": value.detach(),
            "critic_loss": critic.detach(),
            "actor_loss": actor.detach(),
            "data_value": found.detach().mean((1, 2)),
            "advantage": advantage.detach().mean(1),
        }


class IQL(_IQL, BoxActions[IQLConfig]):
    """IQL of continuous actions: a Gaussian whose mean is a tanh, or a deterministic policy."""

    def init(self, generators: Sequence[torch.Generator]) -> tuple[dict[str, Params], tuple[str, ...]]:
        """See `Algorithm.init`."""
        (O, actions), hidden = self.spaces, self.config.hidden  # noqa: E741
        actor = init_mlp([O, *hidden, actions.size], generators, Init())
        if not self.config.deterministic:
            actor["log_std"] = torch.zeros(len(generators), 1, actions.size)
        value = init_mlp([O, *hidden, 1], generators, Init())
        critics = init_critics(O, actions.size, hidden, 2, generators, Init())
        return {"actor": actor, "value": value, "critics": critics}, ("critics",)

    def sample(self, parameters: Mapping[str, Params], observations: Tensor, normals: Tensor) -> Tensor:
        """The policy's mean with its own noise, or, deterministic, with `exploration_noise`."""
        log_std = parameters["actor"].get("log_std")
        std = self.config.exploration_noise if log_std is None else bounded_std(log_std)
        return self.box.clamp(self.act(parameters, observations) + std * self.box.half_range * normals)

    def values(self, critics: Params, batch: Batch) -> Tensor:
        """See `_IQL.values`."""
        return action_values(critics, batch.observations, batch.actions)

    def log_density(self, actor: Params, batch: Batch, factors: Sequence[Tensor]) -> Tensor:
        """See `_IQL.log_density`."""
        mean = mlp(actor, batch.observations, factors).tanh()
        actions = self.box.to_unit(batch.actions)
        if "log_std" in actor:
            return gaussian_log_density(mean, actor["log_std"], actions)
        return -(mean - actions).square().sum(-1)


class DiscreteIQL(_IQL, DiscreteActor[IQLConfig]):
    """IQL of discrete actions: critics give the values of all actions at once."""

    def init(self, generators: Sequence[torch.Generator]) -> tuple[dict[str, Params], tuple[str, ...]]:
        """See `Algorithm.init`."""
        (O, actions), hidden = self.spaces, self.config.hidden  # noqa: E741
        actor = init_mlp([O, *hidden, actions.size], generators, Init(), members=1)
        value = init_mlp([O, *hidden, 1], generators, Init())
        critics = init_mlp([O, *hidden, actions.size], generators, Init(), members=2)
        return {"actor": actor, "value": value, "critics": critics}, ("critics",)

    def values(self, critics: Params, batch: Batch) -> Tensor:
        """See `_IQL.values`."""
        observations = batch.observations.unsqueeze(1).expand(-1, 2, -1, -1)
        return (mlp(critics, observations) * batch.actions.unsqueeze(1)).sum(-1)

    def log_density(self, actor: Params, batch: Batch, factors: Sequence[Tensor]) -> Tensor:
        """See `_IQL.log_density`."""
        logits = self.logits(actor, batch.observations, factors)
        return (logits.log_softmax(-1) * batch.actions).sum(-1)
