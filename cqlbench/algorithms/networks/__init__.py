"""Networks of a seed batch, as pure functions of their parameters: seeds share nothing.

Shape letters: S seeds, B batch, K critics, R rows, M actions per state, O observation, A action.
"""

from cqlbench.algorithms.networks.critics import action_values, critic_values, init_critics
from cqlbench.algorithms.networks.mlp import Init, Params, depth, init_mlp, mlp
from cqlbench.algorithms.networks.policies import (
    TanhGaussian,
    actor_distribution,
    bounded_std,
    gaussian_log_density,
    init_actor,
)
from cqlbench.algorithms.networks.spaces import ActionBox, ActionSpace, DiscreteActions

__all__ = [
    "ActionBox",
    "ActionSpace",
    "DiscreteActions",
    "Init",
    "Params",
    "TanhGaussian",
    "action_values",
    "actor_distribution",
    "bounded_std",
    "critic_values",
    "depth",
    "gaussian_log_density",
    "init_actor",
    "init_critics",
    "init_mlp",
    "mlp",
]
