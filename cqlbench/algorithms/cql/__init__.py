"""Conservative Q-Learning (Kumar et al. 2020) and Cal-QL (Nakamoto et al. 2023)."""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cqlbench.algorithms.algorithm import Batch, Column, Draw, Networks, Noise, Rows, Stage
from cqlbench.algorithms.cql.config import CalQLConfig, CQLConfig
from cqlbench.algorithms.cql.discrete import DiscreteCQL
from cqlbench.algorithms.cql.losses import losses
from cqlbench.algorithms.networks import Params
from cqlbench.algorithms.sac import ActorCritic
from cqlbench.core.errors import ConfigError
from cqlbench.data.returns_to_go import returns_to_go

__all__ = ["CQL", "CQLConfig", "CalQLConfig", "DiscreteCQL"]


class CQL(ActorCritic[CQLConfig]):
    """CQL(H), CQL(ρ) and, `calibrated`, Cal-QL."""

    config: CQLConfig

    def init(self, generators: Sequence[torch.Generator]) -> tuple[dict[str, Params], tuple[str, ...]]:
        """See `Algorithm.init`."""
        parameters, targets = super().init(generators)
        log_multiplier = torch.full((len(generators),), self.config.initial_log_multiplier)
        return {**parameters, "multiplier": {"log": log_multiplier}}, targets

    def draws(self) -> dict[str, Draw]:
        """Proposals from π(·|s) and π(·|s′), the actor's action, the target's, and uniform proposals."""
        config, A = self.config, self.spaces.actions.size
        B, N = config.batch_size, config.proposals if config.conservative_weight else 0
        return {
            "current": Draw("normal", (B, N, A)),
            "next": Draw("normal", (B, N, A)),
            "actor": Draw("normal", (B, A)),
            "target": Draw("normal", (B, config.proposals if config.max_q_backup else 1, A)),
            "random": Draw("uniform", (B, N, A)),
        }

    def rates(self) -> dict[str, float]:
        """Learning rates of the groups that move."""
        multiplier = {"multiplier": self.config.multiplier_learning_rate} if self.config.lagrange else {}
        return super().rates() | multiplier

    def stages(self) -> tuple[Stage, ...]:
        """All losses at the same parameters, as CORL takes them."""
        period = self.config.target_update_period
        return (Stage(self._loss, self.rates(), targets=("critics",), target_period=period),)

    def columns(self) -> dict[str, Column]:
        """Returns-to-go for Cal-QL."""
        if not self.config.calibrated:
            return {}
        return {"returns_to_go": partial(_returns, self.config)}

    def activations(self) -> int:
        """Those of the critics at the dataset's action and the proposals."""
        config = self.config
        N = config.proposals if config.conservative_weight else 0
        values = (3 * N if config.variant == "H" else N) + 1
        return config.critics * config.batch_size * values * sum(config.critic_hidden)

    def _loss(self, networks: Networks, batch: Batch, noise: Noise) -> tuple[Tensor, dict[str, Tensor]]:
        found = losses(networks, batch, noise, self.config, self.box)
        return found.total(), found.diagnostics


def _returns(config: CQLConfig, rows: Rows) -> NDArray[np.float32]:
    if config.sparse_rewards and math.isnan(rows.lowest):
        raise ConfigError("Sparse rewards need a dataset, whose lowest reward is the failing one.")
    failing = rows.lowest if config.sparse_rewards else None
    return returns_to_go(rows.rewards, rows.lasts, config.discount, failing=failing)
