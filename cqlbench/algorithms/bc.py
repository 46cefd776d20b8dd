"""Behaviour cloning of a dataset's actions, or of those of its best episodes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cqlbench.algorithms.algorithm import (
    Algorithm,
    AlgorithmConfig,
    Batch,
    C,
    Networks,
    Noise,
    PolicyNetwork,
    Rows,
    Stage,
    added,
    at_least,
    layer_sizes,
)
from cqlbench.algorithms.networks import ActionBox, Init, Params, init_mlp, mlp


@dataclass
class BCConfig(AlgorithmConfig):
    """One behaviour cloning agent, with CORL's values (corl-team/CORL@eeeeef2, `any_percent_bc.py`).

    Attributes:
        hidden: hidden layer sizes of the policy.
        learning_rate: Adam's rate.
        fraction: clone the episodes of the highest returns only, this share of all (CORL `frac`); normalised
            observations are normalised by these.
    """

    FIXED = AlgorithmConfig.FIXED | {"hidden", "fraction"}

    name: str = "bc"
    hidden: list[int] = field(default_factory=lambda: [256, 256])
    learning_rate: float = 3e-4
    fraction: float = added(1.0)

    def problems(self) -> Iterator[str]:
        """See `AlgorithmConfig.problems`."""
        yield from super().problems()
        yield from at_least(self, 0, "learning_rate")
        yield from layer_sizes(self, "hidden")
        if not 0 < self.fraction <= 1:
            yield f"fraction={self.fraction} must be above 0 and at most 1."


@dataclass
class BC10Config(BCConfig):
    """Behaviour cloning of the best tenth of the episodes."""

    name: str = "bc10"
    fraction: float = 0.1


class BoxActions(Algorithm[C]):
    """An algorithm of continuous actions whose policy is the tanh of an MLP, unless it says otherwise."""

    @property
    def box(self) -> ActionBox:
        """The box of actions."""
        assert isinstance(self.spaces.actions, ActionBox)
        return self.spaces.actions

    def act(self, parameters: Mapping[str, Params], observations: Tensor) -> Tensor:
        """The policy's action."""
        return self.box.from_unit(mlp(parameters["actor"], observations).tanh())

    def policy(self, parameters: Mapping[str, Params]) -> PolicyNetwork:
        """The actor, without what is not of its MLP."""
        actor = {name: each for name, each in parameters["actor"].items() if name != "log_std"}
        return PolicyNetwork(actor, "tanh")


class DiscreteActor(Algorithm[C]):
    """An algorithm of discrete actions whose policy is the likeliest one by an MLP, an ensemble of one."""

    actions = "discrete"

    def logits(self, actor: Params, observations: Tensor, factors: Sequence[Tensor] = ()) -> Tensor:
        """`[S, R, O]` -> `[S, R, A]`; `factors`: see `mlp`, `[S, R, H]` each."""
        return mlp(actor, observations.unsqueeze(1), [each.unsqueeze(1) for each in factors]).squeeze(1)

    def act(self, parameters: Mapping[str, Params], observations: Tensor) -> Tensor:
        """The likeliest action, one-hot."""
        best = self.logits(parameters["actor"], observations).argmax(-1)
        return functional.one_hot(best, self.spaces.actions.size).to(observations.dtype)

    def policy(self, parameters: Mapping[str, Params]) -> PolicyNetwork:
        """The actor."""
        return PolicyNetwork(parameters["actor"], "argmax")


def best_episodes(rows: Rows, fraction: float) -> NDArray[np.bool_] | None:
    """The rows of the whole episodes with the highest returns: `fraction` of all, one at least."""
    if fraction == 1:
        return None
    ends = np.flatnonzero(rows.lasts)
    begins = np.concatenate([[0], ends[:-1] + 1])
    sums = np.concatenate([[0.0], np.cumsum(rows.rewards, dtype=np.float64)])
    order = np.argsort(sums[ends + 1] - sums[begins], kind="stable")[::-1]
    chosen = np.zeros(len(rows.rewards), np.bool_)
    for episode in order[: max(1, int(fraction * len(ends)))]:
        chosen[begins[episode] : ends[episode] + 1] = True
    return chosen


class BC(BoxActions[BCConfig]):
    """Behaviour cloning of continuous actions: E ‖π(s) − a‖²."""

    Config, online = BCConfig, False

    def init(self, generators: Sequence[torch.Generator]) -> tuple[dict[str, Params], tuple[str, ...]]:
        """See `Algorithm.init`."""
        sizes = [self.spaces.observation_size, *self.config.hidden, self.spaces.actions.size]
        return {"actor": init_mlp(sizes, generators, Init())}, ()

    def stages(self) -> tuple[Stage, ...]:
        """One loss."""
        return (Stage(self._loss, {"actor": self.config.learning_rate}),)

    def rows(self, rows: Rows) -> NDArray[np.bool_] | None:
        """See `best_episodes`."""
        return best_episodes(rows, self.config.fraction)

    def _loss(self, networks: Networks, batch: Batch, noise: Noise) -> tuple[Tensor, dict[str, Tensor]]:
        del noise
        loss = (self.act(networks.parameters, batch.observations) - batch.actions).square().mean((1, 2))
        return loss, {"actor_loss": loss.detach()}


class DiscreteBC(DiscreteActor[BCConfig]):
    """Behaviour cloning of discrete actions: −E log π(a|s)."""

    Config, online = BCConfig, False
    rows = BC.rows

    def init(self, generators: Sequence[torch.Generator]) -> tuple[dict[str, Params], tuple[str, ...]]:
        """See `Algorithm.init`."""
        sizes = [self.spaces.observation_size, *self.config.hidden, self.spaces.actions.size]
        return {"actor": init_mlp(sizes, generators, Init(), members=1)}, ()

    def stages(self) -> tuple[Stage, ...]:
        """One loss."""
        return (Stage(self._loss, {"actor": self.config.learning_rate}),)

    def _loss(self, networks: Networks, batch: Batch, noise: Noise) -> tuple[Tensor, dict[str, Tensor]]:
        del noise
        log_densities = self.logits(networks.parameters["actor"], batch.observations).log_softmax(-1)
        loss = -(log_densities * batch.actions).sum(-1).mean(1)
        return loss, {"actor_loss": loss.detach()}
