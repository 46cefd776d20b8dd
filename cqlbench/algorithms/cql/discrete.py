"""CQL for discrete actions: double Q-learning with the penalty summed exactly over all actions.

Kumar et al. 2020, section 6 (Atari) and appendix F: with few actions the logsumexp of eq. 4 needs no samples.
There is no actor; a critic gives the values of all A actions at once, and the greedy one is the policy.

Shape letters: S seeds, B batch, K critics, O observation, A number of actions. Actions are one-hot.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cqlbench.algorithms.algorithm import Algorithm, Batch, Networks, Noise, PolicyNetwork, Spaces, Stage
from cqlbench.algorithms.cql.config import CQLConfig
from cqlbench.algorithms.networks import Init, Params, init_mlp, mlp
from cqlbench.core.errors import ConfigError

_CONTINUOUS_ONLY = (
    "variant",
    "importance_sampled",
    "max_q_backup",
    "backup_entropy",
    "bc_steps",
    "lagrange",
    "calibrated",
)


def refuse_continuous_options(config: CQLConfig) -> None:
    """Refuse the settings that change the algorithm, but not this one.

    Sizes and rates of networks that are not here (`actor_hidden`, `proposals`) are left unread: budgets and
    presets set them for every dataset alike.

    Raises:
        ConfigError: naming the first such setting.
    """
    for name in _CONTINUOUS_ONLY:
        value = getattr(config, name)
        if value != getattr(CQLConfig, name):
            raise ConfigError(
                f"algorithm.{name}={value} is for continuous actions, and this dataset's are discrete; leave "
                "it out."
            )


class DiscreteCQL(Algorithm[CQLConfig]):
    """CQL of discrete actions.

    Raises:
        ConfigError: `config` asks for what only continuous actions have.
    """

    actions = "discrete"

    def __init__(self, config: CQLConfig, spaces: Spaces) -> None:
        super().__init__(config, spaces)
        refuse_continuous_options(config)

    def init(self, generators: Sequence[torch.Generator]) -> tuple[dict[str, Params], tuple[str, ...]]:
        """An ensemble of critics `[S, K, …]` that give the values of all actions at once."""
        config, (observation_size, actions) = self.config, self.spaces
        critics = init_mlp(
            [observation_size, *config.critic_hidden, actions.size],
            generators,
            Init(orthogonal=config.orthogonal_critics, last_gain=config.last_layer_gain),
            members=config.critics,
        )
        return {"critics": critics}, ("critics",)

    def stages(self) -> tuple[Stage, ...]:
        """One loss."""
        config = self.config
        rates, period = {"critics": config.critic_learning_rate}, config.target_update_period
        return (Stage(self._loss, rates, targets=("critics",), target_period=period),)

    def act(self, parameters: Mapping[str, Params], observations: Tensor) -> Tensor:
        """The greedy action, one-hot."""
        return greedy_actions(parameters["critics"], observations)

    def policy(self, parameters: Mapping[str, Params]) -> PolicyNetwork:
        """The critics."""
        return PolicyNetwork(parameters["critics"], "argmax")

    def activations(self) -> int:
        """Those of the critics."""
        config = self.config
        return config.critics * config.batch_size * sum(config.critic_hidden)

    def _loss(self, networks: Networks, batch: Batch, noise: Noise) -> tuple[Tensor, dict[str, Tensor]]:
        del noise
        return discrete_loss(networks.parameters["critics"], networks.targets["critics"], batch, self.config)


def all_values(critics: Params, observations: Tensor) -> Tensor:
    """Q of every action, `[S, K, B, A]`, at `observations` `[S, B, O]`."""
    K = critics["0.weight"].shape[1]
    return mlp(critics, observations.unsqueeze(1).expand(-1, K, -1, -1))


def greedy_actions(critics: Params, observations: Tensor) -> Tensor:
    """The action of the largest mean over critics, one-hot `[S, B, A]`; NaN where a value is not finite."""
    values = all_values(critics, observations).mean(1)  # [S, B, A]
    chosen = torch.zeros_like(values).scatter_(-1, values.argmax(-1, keepdim=True), 1.0)
    return chosen + 0 * values  # or a critic that has diverged would look like one that has decided


def discrete_targets(critics: Params, target_critics: Params, batch: Batch, discount: float) -> Tensor:
    """The targets r + γ·(1 − terminated)·min_k Q̄_k(s′, a*), a* greedy for the critics' mean; `[S, B]`.

    Double Q-learning (van Hasselt et al. 2016): the critics choose, the target critics value.
    """
    greedy = greedy_actions(critics, batch.next_observations)  # [S, B, A]
    values = all_values(target_critics, batch.next_observations).amin(1)  # [S, B, A]
    return batch.rewards + discount * (1 - batch.terminated) * (values * greedy).sum(-1)


def discrete_loss(
    critics: Params, target_critics: Params, batch: Batch, config: CQLConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """Σ_k [ E(Q_k(s,a) − y)² + conservative_weight · E(T·logsumexp_a Q_k(s,a)/T − Q_k(s,a_data)) ], `[S]`.

    `gap_clip_min` and `gap_clip_max` bound each state's gap, as with continuous actions.

    Returns:
        The loss and diagnostics, `[S]` each. Gradients flow into `critics` alone.
    """
    with torch.no_grad():
        targets = discrete_targets(critics, target_critics, batch, config.discount)  # [S, B]
    values = all_values(critics, batch.observations)  # [S, K, B, A]
    data_values = (values * batch.actions.unsqueeze(1)).sum(3)  # [S, K, B]
    error = (data_values - targets.unsqueeze(1)).square().mean(2)  # [S, K]
    temperature = config.cql_temperature
    gap = temperature * (values / temperature).logsumexp(3) - data_values  # [S, K, B]
    if config.gap_clip_min is not None or config.gap_clip_max is not None:
        gap = gap.clamp(config.gap_clip_min, config.gap_clip_max)
    gap = gap.mean(2)  # [S, K]
    loss = (error + config.conservative_weight * gap).sum(1)
    return loss, {
        "critic_loss": loss.detach(),
        "td_loss": error.detach().mean(1),
        "conservative_gap": gap.detach().mean(1),
        "data_value": data_values.detach().mean((1, 2)),
        "target_value": targets.mean(1),
    }
