"""One gradient step, the same function for all algorithms: losses, Adam, targets. Nothing in here draws."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from cqlbench.algorithms.algorithm import Algorithm, Batch, Networks, Noise, Stage
from cqlbench.algorithms.networks import Params
from cqlbench.core.seeding import Purpose, torch_generator

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8
"""Adam's published defaults (Kingma & Ba 2015, algorithm 1), which all CQL code uses."""


@dataclass(frozen=True)
class TrainState:
    """Everything a gradient step changes, each tensor with a leading S.

    Attributes:
        parameters: by group, what Adam moves.
        targets: the polyak averages of the groups that have one.
        first_moments: Adam's, shaped as `parameters`.
        second_moments: Adam's, shaped as `parameters`.
        steps: scalar float: gradient steps taken.
        alive: `[S]` bool: the seeds whose gradients have been finite so far. The others are frozen.
    """

    parameters: dict[str, Params]
    targets: dict[str, Params]
    first_moments: dict[str, Params]
    second_moments: dict[str, Params]
    steps: Tensor
    alive: Tensor

    def state_dict(self) -> dict[str, Any]:
        """Nested dictionaries of tensors, sharing memory with this state."""
        return dict(vars(self))

    def clone(self) -> "TrainState":
        """A copy that shares nothing with this state."""
        return TrainState(**tree_map(torch.clone, self.state_dict()))

    def to(self, device: torch.device | str) -> "TrainState":
        """This state on `device`."""
        return TrainState(**tree_map(lambda tensor: tensor.to(device), self.state_dict()))

    def copy_(self, other: "TrainState") -> None:
        """Take the values of `other`, keeping this state's memory."""
        for own, given in zip(self.tensors(), other.tensors(), strict=True):
            own.copy_(given)

    def tensors(self) -> list[Tensor]:
        """Every tensor of this state, in a fixed order."""
        return tree_leaves(self.state_dict())

    def finite(self) -> Tensor:
        """`[S]` bool: the seeds that are alive, and whose parameters, targets and moments are all finite."""
        flags = [torch.isfinite(t).reshape(len(t), -1).all(1) for t in self.tensors() if t.dim()]
        return torch.stack([self.alive, *flags]).all(0)


Update = Callable[[TrainState, Batch, Noise, int], tuple[TrainState, dict[str, Tensor]]]


def initial_state(algorithm: Algorithm[Any], seeds: Sequence[int]) -> TrainState:
    """Fresh parameters on the CPU; a seed's do not depend on the other seeds."""
    parameters, targeted = algorithm.init([torch_generator(seed, Purpose.INIT) for seed in seeds])
    return TrainState(
        parameters=parameters,
        targets={group: tree_map(torch.clone, parameters[group]) for group in targeted},
        first_moments=tree_map(torch.zeros_like, parameters),
        second_moments=tree_map(torch.zeros_like, parameters),
        steps=torch.zeros(()),
        alive=torch.ones(len(seeds), dtype=torch.bool),
    )


def make_update(algorithm: Algorithm[Any]) -> Update:
    """The gradient step of `algorithm`.

    The step's result depends on its arguments alone. The state given in is consumed: its memory is reused for
    the state that comes out (clone it first to keep it).

    Returns:
        `update(state, batch, noise, step) -> (state, diagnostics)`; `step` counts from 0, diagnostics are
        detached, `[S]` each, those of the stages that ran.
    """
    stages, config = algorithm.stages(), algorithm.config

    def update(
        state: TrainState, batch: Batch, noise: Noise, step: int
    ) -> tuple[TrainState, dict[str, Tensor]]:
        diagnostics: dict[str, Tensor] = {}
        state.steps.add_(1)
        for stage in stages:
            if step % stage.every != stage.first:
                continue
            gradients, found = loss_gradients(stage, state, batch, noise)
            diagnostics |= found
            with torch.no_grad():
                norms = {group: norms_by_seed(gradients[group]) for group in stage.rates}
                _freeze_diverged(state, gradients, norms)
                count = state.steps if stage.every == 1 else (state.steps / stage.every).ceil()
                for group, rate in stage.rates.items():
                    if config.max_gradient_norm is not None:
                        clip_by_seed(gradients[group], norms[group], config.max_gradient_norm)
                    diagnostics[f"{group}_gradient_norm"] = norms[group]
                    now = rate(state.steps - 1) if callable(rate) else rate
                    _adam(state, group, gradients[group], now, count, stage.weight_decay)
                for group in stage.targets:
                    _polyak(state, group, config.polyak_rate, stage.target_period)
        return state, diagnostics

    return update


def loss_gradients(
    stage: Stage, state: TrainState, batch: Batch, noise: Noise
) -> tuple[dict[str, Params], dict[str, Tensor]]:
    """Gradients of each seed's loss with respect to the stage's groups, and the diagnostics."""
    leaves = {
        group: {name: tensor.detach().requires_grad_() for name, tensor in state.parameters[group].items()}
        for group in stage.rates
    }
    networks = Networks({**state.parameters, **leaves}, state.targets, state.steps)
    loss, diagnostics = stage.loss(networks, batch, noise)
    flat = [(group, name) for group, params in leaves.items() for name in params]
    # Seeds share no parameter: the gradient of the sum is each seed's own.
    grads = torch.autograd.grad(
        loss.sum(), [leaves[group][name] for group, name in flat], materialize_grads=True
    )
    gradients: dict[str, Params] = {group: {} for group in leaves}
    for (group, name), grad in zip(flat, grads, strict=True):
        gradients[group][name] = grad.contiguous()  # the fused Adam kernel does not look at strides
    return gradients, diagnostics


def _adam(
    state: TrainState, group: str, gradients: Params, rate: float | Tensor, count: Tensor, decay: float
) -> None:
    names = list(gradients)
    # The kernels under torch.optim's fused ones: one pass over memory, bias correction from `count`.
    update = torch._fused_adamw_ if decay else torch._fused_adam_
    update(
        [state.parameters[group][name] for name in names],
        [gradients[name] for name in names],
        [state.first_moments[group][name] for name in names],
        [state.second_moments[group][name] for name in names],
        [],
        [count] * len(names),
        lr=rate,
        beta1=_BETAS[0],
        beta2=_BETAS[1],
        weight_decay=decay,
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
    # A diverged seed's gradients are 0 by now, and its norm may be no number.
    factors = (max_norm / norms.clamp(min=1e-12)).clamp(max=1.0).nan_to_num(0.0)
    for gradient in gradients.values():
        gradient.mul_(factors.view(-1, *[1] * (gradient.dim() - 1)))


def _freeze_diverged(state: TrainState, gradients: dict[str, Params], norms: dict[str, Tensor]) -> None:
    """Stop the seeds whose gradients are not finite where they are, without making a GPU wait."""
    state.alive.logical_and_(torch.stack(list(norms.values())).isfinite().all(0))
    dead = ~state.alive
    if dead.device.type == "cpu" and not dead.any():
        return  # the masks would change nothing, in two passes over memory; only a GPU would have to wait
    for group in norms:
        for name, gradient in gradients[group].items():
            mask = dead.view(-1, *[1] * (gradient.dim() - 1))
            gradient.masked_fill_(mask, 0.0)
            state.first_moments[group][name].masked_fill_(mask, 0.0)  # or Adam's momentum would carry on


def _polyak(state: TrainState, group: str, rate: float, period: int) -> None:
    targets, sources = list(state.targets[group].values()), list(state.parameters[group].values())
    if period == 1:
        torch._foreach_lerp_(targets, sources, rate)
        return
    # A tensor decides, not Python: reading the step number would make a GPU wait.
    weight = rate * (state.steps % period == 0)
    for target, source in zip(targets, sources, strict=True):
        target.lerp_(source, weight.to(target.dtype))
