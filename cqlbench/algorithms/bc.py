"""Behaviour cloning: a deterministic policy regressed on the dataset's actions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cqlbench.algorithms.algorithm import (
    Algorithm,
    AlgorithmConfig,
    Batch,
    Networks,
    Noise,
    PolicyNetwork,
    Stage,
    at_least,
    layer_sizes,
)
from cqlbench.algorithms.networks import ActionBox, Params, init_mlp, mlp


@dataclass
class BCConfig(AlgorithmConfig):
    """One behaviour cloning agent, with CORL's values (corl-team/CORL@eeeeef2, `any_percent_bc.py`).

    Attributes:
        hidden: hidden layer sizes of the policy.
        learning_rate: Adam's rate.
    """

    FIXED = AlgorithmConfig.FIXED | {"hidden"}

    name: str = "bc"
    hidden: list[int] = field(default_factory=lambda: [256, 256])
    learning_rate: float = 3e-4

    def problems(self) -> Iterator[str]:
        """See `AlgorithmConfig.problems`."""
        yield from super().problems()
        yield from at_least(self, 0, "learning_rate")
        yield from layer_sizes(self, "hidden")


class BC(Algorithm[BCConfig]):
    """Behaviour cloning of continuous actions: E ‖tanh-policy(s) − a‖²."""

    Config = BCConfig

    def init(self, generators: Sequence[torch.Generator]) -> tuple[dict[str, Params], tuple[str, ...]]:
        """See `Algorithm.init`."""
        sizes = [self.spaces.observation_size, *self.config.hidden, self.spaces.actions.size]
        return {"actor": init_mlp(sizes, generators, orthogonal=False)}, ()

    def stages(self) -> tuple[Stage, ...]:
        """One loss."""
        return (Stage(self._loss, {"actor": self.config.learning_rate}),)

    def act(self, parameters: Mapping[str, Params], observations: Tensor) -> Tensor:
        """The policy's action."""
        assert isinstance(self.spaces.actions, ActionBox)
        return self.spaces.actions.from_unit(mlp(parameters["actor"], observations).tanh())

    def policy(self, parameters: Mapping[str, Params]) -> PolicyNetwork:
        """The actor."""
        return PolicyNetwork(parameters["actor"], "tanh")

    def _loss(self, networks: Networks, batch: Batch, noise: Noise) -> tuple[Tensor, dict[str, Tensor]]:
        del noise
        loss = (self.act(networks.parameters, batch.observations) - batch.actions).square().mean((1, 2))
        return loss, {"actor_loss": loss.detach()}
