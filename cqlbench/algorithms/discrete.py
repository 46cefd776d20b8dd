"""CQL for discrete actions: double Q-learning with the penalty summed exactly over all actions.

Kumar et al. 2020, section 6 (Atari) and appendix F: with few actions the logsumexp needs no samples. There is
no actor; a critic gives the values of all A actions at once, and the greedy one is the policy.

These are functions for one's own loop: no reader gives discrete actions yet, so no command uses them. Of the
settings they read the discount, the conservative weight, the softmax temperature and the gap's bounds.

Shape letters: S seeds, B batch, K critics, O observation, A number of actions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cqlbench.algorithms.networks import Params, mlp
from cqlbench.config import CQLConfig


@dataclass(frozen=True)
class DiscreteBatch:
    """Transitions of one gradient step.

    Attributes:
        observations: `[S, B, O]`.
        actions: `[S, B]` int64.
        rewards: `[S, B]`.
        next_observations: `[S, B, O]`.
        terminated: `[S, B]` float.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    next_observations: Tensor
    terminated: Tensor


def all_values(critics: Params, observations: Tensor) -> Tensor:
    """Q of every action, `[S, K, B, A]`, at `observations` `[S, B, O]`."""
    K = critics["0.weight"].shape[1]
    return mlp(critics, observations.unsqueeze(1).expand(-1, K, -1, -1))


def discrete_targets(
    critics: Params, target_critics: Params, batch: DiscreteBatch, discount: float
) -> Tensor:
    """The targets r + γ·(1 − terminated)·min_k Q̄_k(s′, a*), a* greedy for the critics' mean; `[S, B]`.

    Double Q-learning (van Hasselt et al. 2016): the critics choose, the target critics value.
    """
    greedy = all_values(critics, batch.next_observations).mean(1).argmax(-1)  # [S, B]
    values = all_values(target_critics, batch.next_observations).amin(1)  # [S, B, A]
    chosen = values.gather(2, greedy.unsqueeze(2)).squeeze(2)
    return batch.rewards + discount * (1 - batch.terminated) * chosen


def discrete_loss(
    critics: Params, target_critics: Params, batch: DiscreteBatch, config: CQLConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """Σ_k [ E(Q_k(s,a) − y)² + conservative_weight · E(T·logsumexp_a Q_k(s,a)/T − Q_k(s,a_data)) ], `[S]`.

    `gap_clip_min` and `gap_clip_max` bound each state's gap, as with continuous actions.

    Returns:
        The loss and diagnostics, `[S]` each. Gradients flow into `critics` alone.
    """
    with torch.no_grad():
        targets = discrete_targets(critics, target_critics, batch, config.discount)
    values = all_values(critics, batch.observations)  # [S, K, B, A]
    K = values.shape[1]
    taken = batch.actions.unsqueeze(1).unsqueeze(3).expand(-1, K, -1, 1)
    data_values = values.gather(3, taken).squeeze(3)  # [S, K, B]
    error = (data_values - targets.unsqueeze(1)).square().mean(2)  # [S, K]
    temperature = config.cql_temperature
    gap = temperature * (values / temperature).logsumexp(3) - data_values
    if config.gap_clip_min is not None or config.gap_clip_max is not None:
        gap = gap.clamp(config.gap_clip_min, config.gap_clip_max)
    gap = gap.mean(2)
    loss = (error + config.conservative_weight * gap).sum(1)
    return loss, {
        "critic_loss": loss.detach(),
        "td_loss": error.detach().mean(1),
        "conservative_gap": gap.detach().mean(1),
        "data_value": data_values.detach().mean((1, 2)),
    }
