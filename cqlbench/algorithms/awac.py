"""AWAC (Nair et al. 2020, arXiv:2006.09359): actor-critic whose actor is regressed on the data by advantage.

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
    action_values,
    bounded_std,
    gaussian_log_density,
    init_critics,
    init_mlp,
    mlp,
)
from cqlbench.algorithms.policies import BoxActions


@dataclass
class AWACConfig(AlgorithmConfig):
    """One AWAC agent, with CORL's values for gym-mujoco (corl-team/CORL@eeeeef2, `awac.py`).

    Attributes:
        hidden: hidden layer sizes of actor and critics.
        learning_rate: Adam's rate of both.
        temperature: λ of the actor's weights exp((Q − V) / λ) (CORL `awac_lambda`).
        largest_weight: upper bound of the actor's weights.
    """

    FIXED = AlgorithmConfig.FIXED | {"hidden"}

    name: str = "awac"
    hidden: list[int] = field(default_factory=lambda: [256, 256, 256])
    learning_rate: float = 3e-4
    temperature: float = 0.3333
    largest_weight: float = 100.0

    def problems(self) -> Iterator[str]:
        """See `AlgorithmConfig.problems`."""
        yield from super().problems()
        yield from at_least(self, 0, "largest_weight")
        yield from positive(self, "temperature")


class AWAC(BoxActions[AWACConfig]):
    """AWAC, with a Gaussian policy that has one learned standard deviation for each action dimension."""

    def init(self, generators: Sequence[torch.Generator]) -> tuple[dict[str, Params], tuple[str, ...]]:
        """See `Algorithm.init`."""
        (O, actions), hidden = self.spaces, self.config.hidden  # noqa: E741
        actor = init_mlp([O, *hidden, actions.size], generators, Init())
        actor["log_std"] = torch.zeros(len(generators), 1, actions.size)
        critics = init_critics(O, actions.size, hidden, 2, generators, Init())
        return {"actor": actor, "critics": critics}, ("critics",)

    def draws(self) -> dict[str, Draw]:
        """The actions of the target and of the value that advantages are measured from."""
        shape = self.config.batch_size, self.spaces.actions.size
        return {"target": Draw("normal", shape), "value": Draw("normal", shape)}

    def stages(self) -> tuple[Stage, ...]:
        """The critics, then the actor by the new critics."""
        rate = self.config.learning_rate
        return (
            Stage(self._critic_loss, {"critics": rate}),
            Stage(self._actor_loss, {"actor": rate}, targets=("critics",)),
        )

    def act(self, parameters: Mapping[str, Params], observations: Tensor) -> Tensor:
        """The policy's mean, within the box."""
        return self.box.from_unit(mlp(parameters["actor"], observations).clamp(-1, 1))

    def sample(self, parameters: Mapping[str, Params], observations: Tensor, normals: Tensor) -> Tensor:
        """An action drawn from the policy, within the box."""
        actor = parameters["actor"]
        drawn = torch.addcmul(mlp(actor, observations), bounded_std(actor["log_std"]), normals)
        return self.box.from_unit(drawn.clamp(-1, 1))

    def policy(self, parameters: Mapping[str, Params]) -> PolicyNetwork:
        """The actor's mean."""
        return super().policy(parameters)._replace(head="clip")

    def _critic_loss(
        self, networks: Networks, batch: Batch, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            actions = self.sample(networks.parameters, batch.next_observations, noise["target"])
            values = action_values(networks.targets["critics"], batch.next_observations, actions).amin(1)
            targets = batch.rewards + self.config.discount * (1 - batch.terminated) * values  # [S, B]
        return squared_error(
            action_values(networks.parameters["critics"], batch.observations, batch.actions), targets
        )

    def _actor_loss(self, networks: Networks, batch: Batch, noise: Noise) -> tuple[Tensor, dict[str, Tensor]]:
        """−E [exp((Q(s, a) − V(s)) / λ)·log π(a|s)], V(s) = Q(s, a_π) (eq. 13)."""
        config, actor, critics = self.config, networks.parameters["actor"], networks.parameters["critics"]
        with torch.no_grad():
            own = self.sample(networks.parameters, batch.observations, noise["value"])
            value = action_values(critics, batch.observations, own).amin(1)
            advantage = action_values(critics, batch.observations, batch.actions).amin(1) - value
            weights = (advantage / config.temperature).exp().clamp(max=config.largest_weight)  # [S, B]
        mean, actions = mlp(actor, batch.observations), self.box.to_unit(batch.actions)
        loss = -(weights * gaussian_log_density(mean, actor["log_std"], actions)).mean(1)
        return loss, {"actor_loss": loss.detach(), "advantage": advantage.mean(1)}
