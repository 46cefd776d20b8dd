"""Algorithms: one file each, on one interface, and a line in `ALGORITHMS`."""

from typing import Any

from cqlbench.algorithms.algorithm import Algorithm, AlgorithmConfig, Spaces
from cqlbench.algorithms.awac import AWAC, AWACConfig
from cqlbench.algorithms.bc import BC, BC10Config, BCConfig, DiscreteBC
from cqlbench.algorithms.cql import CQL, CalQLConfig, CQLConfig, DiscreteCQL
from cqlbench.algorithms.dt import DT, DTConfig
from cqlbench.algorithms.iql import IQL, DiscreteIQL, IQLConfig
from cqlbench.algorithms.networks import DiscreteActions
from cqlbench.algorithms.rebrac import ReBRAC, ReBRACConfig
from cqlbench.algorithms.sac import SAC, SACConfig
from cqlbench.algorithms.sac_n import SACN, EDACConfig, SACNConfig
from cqlbench.algorithms.td3_bc import TD3BC, TD3BCConfig
from cqlbench.core.errors import ConfigError

ALGORITHMS: dict[str, tuple[type[AlgorithmConfig], tuple[type[Algorithm[Any]], ...]]] = {
    "cql": (CQLConfig, (CQL, DiscreteCQL)),
    "calql": (CalQLConfig, (CQL,)),
    "sac": (SACConfig, (SAC,)),
    "bc": (BCConfig, (BC, DiscreteBC)),
    "bc10": (BC10Config, (BC, DiscreteBC)),
    "td3_bc": (TD3BCConfig, (TD3BC,)),
    "iql": (IQLConfig, (IQL, DiscreteIQL)),
    "awac": (AWACConfig, (AWAC,)),
    "rebrac": (ReBRACConfig, (ReBRAC,)),
    "sac_n": (SACNConfig, (SACN,)),
    "edac": (EDACConfig, (SACN,)),
    "dt": (DTConfig, (DT,)),
}
"""Name -> its settings, and what computes it, for one kind of actions or for both."""


def learns_online(config: AlgorithmConfig) -> bool:
    """Whether an algorithm of these settings can learn from rows that it collects."""
    return any(
        each.online
        for settings, classes in ALGORITHMS.values()
        if settings is type(config)
        for each in classes
    )


def class_of(config: AlgorithmConfig, *, discrete: bool) -> type[Algorithm[Any]]:
    """What computes an algorithm of these settings on such actions.

    Raises:
        ConfigError: it is not for such actions.
    """
    kind = "discrete" if discrete else "box"
    for settings, classes in ALGORITHMS.values():
        if settings is type(config):
            for each in classes:
                if each.actions == kind:
                    return each
    raise ConfigError(
        f"algorithm={config.name} is not for {'discrete' if discrete else 'continuous'} actions,"
        " which this dataset has."
    )


def algorithm_of(config: AlgorithmConfig, spaces: Spaces) -> Algorithm[Any]:
    """The algorithm of these settings, on these actions.

    Raises:
        ConfigError: it is not for such actions, or not with these settings.
    """
    return class_of(config, discrete=isinstance(spaces.actions, DiscreteActions))(config, spaces)
