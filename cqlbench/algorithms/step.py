"""One gradient step as a function: losses, Adam, target update. Nothing in here draws a random number."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cqlbench.algorithms import networks
from cqlbench.algorithms.config import CQLConfig
from cqlbench.algorithms.cql.discrete import (
    discrete_loss,
    greedy_actions,
    init_discrete_critics,
    refuse_continuous_options,
)
from cqlbench.algorithms.cql.losses import Batch, Networks, Noise, losses
from cqlbench.algorithms.networks import ActionSpace, DiscreteActions, Params, actor_distribution
from cqlbench.core.seeding import Purpose, torch_generator

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8
"""Adam's published defaults (Kingma & Ba 2015, algorithm 1), which all CQL code uses."""


@dataclass(frozen=True)
class TrainState:
    """Everything a gradient step changes, each tensor with a leading S.

    Attributes:
        parameters: `actor`, `critics`, `temperature` and `multiplier` (`{"log": [S]}`), what Adam moves;
            of discrete actions `critics` alone.
        target_critics: the polyak average of `critics`.
        first_moments: Adam's, shaped as `parameters`.
        second_moments: Adam's, shaped as `parameters`.
        steps: scalar float: gradient steps taken.
        alive: `[S]` bool: the seeds whose gradients have been finite so far. The others are frozen.
    """

    parameters: dict[str, Params]
    target_critics: Params
    first_moments: dict[str, Params]
    second_moments: dict[str, Params]
    steps: Tensor
    alive: Tensor

    def state_dict(self) -> dict[str, Any]:
        """Nested dictionaries of tensors, sharing memory with this state."""
        return dict(vars(self))

    def clone(self) -> "TrainState":
        """A copy that shares nothing with this state."""
        return TrainState(**_map(self.state_dict(), torch.clone))

    def to(self, device: torch.device | str) -> "TrainState":
        """This state on `device`."""
        return TrainState(**_map(self.state_dict(), lambda tensor: tensor.to(device)))

    def copy_(self, other: "TrainState") -> None:
        """Take the values of `other`, keeping this state's memory."""
        for mine, theirs in zip(self.tensors(), other.tensors(), strict=True):
            mine.copy_(theirs)

    def tensors(self) -> list[Tensor]:
        """Every tensor of this state, in a fixed order."""
        return _flatten(self.state_dict())

    def finite(self) -> Tensor:
        """`[S]` bool: the seeds that are alive, and whose parameters, targets and moments are all finite."""
        flags = [torch.isfinite(t).reshape(len(t), -1).all(1) for t in self.tensors() if t.dim()]
        return torch.stack([self.alive, *flags]).all(0)


Update = Callable[[TrainState, Batch, Noise], tuple[TrainState, dict[str, Tensor]]]


def initial_state(
    config: CQLConfig,
    observation_size: int,
    action_size: int,
    seeds: Sequence[int],
    *,
    discrete: bool = False,
) -> TrainState:
    """Fresh parameters on the CPU; a seed's do not depend on the other seeds."""
    generators = [torch_generator(seed, Purpose.INIT) for seed in seeds]
    if discrete:
        critics = init_discrete_critics(observation_size, action_size, config, generators)
        parameters = {"critics": critics}
    else:
        parameters = _initial_parameters(config, observation_size, action_size, generators)
    return TrainState(
        parameters=parameters,
        target_critics=_map(parameters["critics"], torch.clone),
        first_moments=_map(parameters, torch.zeros_like),
        second_moments=_map(parameters, torch.zeros_like),
        steps=torch.zeros(()),
        alive=torch.ones(len(seeds), dtype=torch.bool),
    )


def _initial_parameters(
    config: CQLConfig, observation_size: int, action_size: int, generators: Sequence[torch.Generator]
) -> dict[str, Params]:
    actor = networks.init_actor(
        observation_size,
        action_size,
        config.actor_hidden,
        generators,
        orthogonal=config.orthogonal_actor,
        last_gain=config.last_layer_gain,
    )
    critics = networks.init_critics(
        observation_size,
        action_size,
        config.critic_hidden,
        config.critics,
        generators,
        orthogonal=config.orthogonal_critics,
        last_gain=config.last_layer_gain,
    )
    temperature = torch.full((len(generators),), config.entropy_temperature).log()
    multiplier = torch.full((len(generators),), config.initial_log_multiplier)
    return {
        "actor": actor,
        "critics": critics,
        "temperature": {"log": temperature},
        "multiplier": {"log": multiplier},
    }


def make_update(config: CQLConfig, actions: ActionSpace) -> Update:
    """The gradient step of `config` on `actions`; discrete ones need no noise.

    The step's result depends on its three arguments alone. The state given in is consumed: its memory is
    reused for the state that comes out (clone it first to keep it).

    Returns:
        `update(state, batch, noise) -> (state, diagnostics)`; diagnostics are detached, `[S]` each.

    Raises:
        ConfigError: the actions are discrete and `config` asks for what only continuous ones have.
    """
    rates = {"critics": config.critic_learning_rate}
    if isinstance(actions, DiscreteActions):
        refuse_continuous_options(config)
    else:
        rates = {"actor": config.actor_learning_rate, **rates}
        if config.learn_entropy_temperature:
            rates["temperature"] = config.temperature_learning_rate
        if config.lagrange:
            rates["multiplier"] = config.multiplier_learning_rate

    def update(state: TrainState, batch: Batch, noise: Noise) -> tuple[TrainState, dict[str, Tensor]]:
        gradients, diagnostics = loss_gradients(state, batch, noise, config, actions)
        with torch.no_grad():
            state.steps.add_(1)
            norms = {group: norms_by_seed(gradients[group]) for group in rates}
            _freeze_diverged(state, gradients, norms)
            for group, rate in rates.items():
                if config.max_gradient_norm is not None:
                    clip_by_seed(gradients[group], norms[group], config.max_gradient_norm)
                diagnostics[f"{group}_gradient_norm"] = norms[group]
                _adam(state, group, gradients[group], rate)
            _polyak(state, config.polyak_rate, config.target_update_period)
        return state, diagnostics

    return update


def loss_gradients(
    state: TrainState, batch: Batch, noise: Noise, config: CQLConfig, actions: ActionSpace
) -> tuple[dict[str, Params], dict[str, Tensor]]:
    """Gradients of each seed's losses with respect to `state.parameters`, and the diagnostics."""
    leaves = _map(state.parameters, lambda tensor: tensor.detach().requires_grad_())
    total, diagnostics = _total_loss(leaves, state, batch, noise, config, actions)
    flat = list(_leaves(leaves))
    grads = torch.autograd.grad(total, [tensor for _, tensor in flat], materialize_grads=True)
    gradients: dict[str, Params] = {group: {} for group in leaves}
    for ((group, name), _), grad in zip(flat, grads, strict=True):
        gradients[group][name] = grad.contiguous()  # the fused Adam kernel does not look at strides
    return gradients, diagnostics


def _total_loss(
    leaves: dict[str, Params],
    state: TrainState,
    batch: Batch,
    noise: Noise,
    config: CQLConfig,
    actions: ActionSpace,
) -> tuple[Tensor, dict[str, Tensor]]:
    if isinstance(actions, DiscreteActions):
        loss, diagnostics = discrete_loss(leaves["critics"], state.target_critics, batch, config)
        return loss.sum(), diagnostics
    result = losses(
        Networks(
            leaves["actor"],
            leaves["critics"],
            state.target_critics,
            leaves["temperature"]["log"],
            leaves["multiplier"]["log"],
            state.steps,
        ),
        batch,
        noise,
        config,
        actions,
    )
    return result.total(), result.diagnostics


def act(parameters: dict[str, Params], observations: Tensor, actions: ActionSpace) -> Tensor:
    """Deterministic actions of every seed at its own `observations`, `[S, R, O]` -> `[S, R, A]`."""
    if isinstance(actions, DiscreteActions):
        return greedy_actions(parameters["critics"], observations)
    return actor_distribution(parameters["actor"], observations, actions).mode()


def _adam(state: TrainState, group: str, gradients: Params, rate: float) -> None:
    names = list(gradients)
    # The kernel under torch.optim.Adam(fused=True): one pass over memory, bias correction from `steps`.
    torch._fused_adam_(
        [state.parameters[group][name] for name in names],
        [gradients[name] for name in names],
        [state.first_moments[group][name] for name in names],
        [state.second_moments[group][name] for name in names],
        [],
        [state.steps] * len(names),
        lr=rate,
        beta1=_BETAS[0],
        beta2=_BETAS[1],
        weight_decay=0.0,
        eps=_EPSILON,
        amsgrad=False,
        maximize=False,
    )


def norms_by_seed(gradients: Params) -> Tensor:
    """The joint norm of one network's gradients, `[S]`."""
    squares = [gradient.reshape(len(gradient), -1).square().sum(1) for gradient in gradients.values()]
    return torch.stack(squares).sum(0).sqrt()


def clip_by_seed(gradients: Params, norms: Tensor, max_norm: float) -> None:
    """Scale each seed's gradients in place to a joint norm (now `norms`, `[S]`) of at most `max_norm`."""
    factors = (max_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
    for gradient in gradients.values():
        gradient.mul_(factors.view(-1, *[1] * (gradient.dim() - 1)))


def _freeze_diverged(state: TrainState, gradients: dict[str, Params], norms: dict[str, Tensor]) -> None:
    """Stop the seeds whose gradients are not finite where they are, without asking the host."""
    state.alive.logical_and_(torch.stack(list(norms.values())).isfinite().all(0))
    dead = ~state.alive
    for group in norms:
        for name, gradient in gradients[group].items():
            mask = dead.view(-1, *[1] * (gradient.dim() - 1))
            gradient.masked_fill_(mask, 0.0)
            state.first_moments[group][name].masked_fill_(mask, 0.0)  # or Adam's momentum would carry on


def _polyak(state: TrainState, rate: float, period: int) -> None:
    targets, sources = list(state.target_critics.values()), list(state.parameters["critics"].values())
    if period == 1:
        torch._foreach_lerp_(targets, sources, rate)
        return
    # A tensor decides, not Python: reading the step number would make a GPU wait.
    weight = rate * (state.steps % period == 0)
    for target, source in zip(targets, sources, strict=True):
        target.lerp_(source, weight.to(target.dtype))


def _map(tree: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(tree, dict):
        return {name: _map(branch, function) for name, branch in tree.items()}
    return function(tree)


def _flatten(tree: Any) -> list[Tensor]:
    if isinstance(tree, dict):
        return [tensor for branch in tree.values() for tensor in _flatten(branch)]
    return [tree]


def _leaves(groups: dict[str, Params]) -> Iterator[tuple[tuple[str, str], Tensor]]:
    for group, params in groups.items():
        for name, tensor in params.items():
            yield (group, name), tensor
