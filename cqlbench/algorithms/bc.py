"""Behaviour cloning of a dataset's actions, or of those of its best episodes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cqlbench.algorithms.algorithm import (
    AlgorithmConfig,
    Batch,
    Networks,
    Noise,
    Rows,
    Stage,
    added,
)
from cqlbench.algorithms.networks import Init, Params, init_mlp
from cqlbench.algorithms.policies import BoxActions, DiscreteActor


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
        if not 0 < self.fraction <= 1:
            yield f"fraction={self.fraction} must be above 0 and at most 1."


@dataclass
class BC10Config(BCConfig):
    """Behaviour cloning of the best tenth of the episodes."""

    name: str = "bc10"
    fraction: float = 0.1


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

    online = False

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

    online = False
    rows, stages = BC.rows, BC.stages

    def init(self, generators: Sequence[torch.Generator]) -> tuple[dict[str, Params], tuple[str, ...]]:
        """See `Algorithm.init`."""
        sizes = [self.spaces.observation_size, *self.config.hidden, self.spaces.actions.size]
        return {"actor": init_mlp(sizes, generators, Init(), members=1)}, ()

    def _loss(self, networks: Networks, batch: Batch, noise: Noise) -> tuple[Tensor, dict[str, Tensor]]:
        del noise
        log_densities = self.logits(networks.parameters["actor"], batch.observations).log_softmax(-1)
        loss = -(log_densities * batch.actions).sum(-1).mean(1)
        return loss, {"actor_loss": loss.detach()}
