"""One gradient step, the same function for all algorithms: losses, Adam, targets. Nothing in here draws."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from cqlbench.algorithms.algorithm import Algorithm, Batch, Networks, Noise, Stage
from cqlbench.algorithms.gpu.adam import BETAS, EPSILON, adam
from cqlbench.algorithms.gpu.operations import usable
from cqlbench.algorithms.networks import Params
from cqlbench.core.seeding import Purpose, torch_generator

_ALL = "all"
"""The name of the one tensor of a group that is joined."""
_ALIGNED = 16
"""Numbers: joined tensors begin at multiples of this, which the fast kernels of matrix products ask for."""


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
        joined: on a GPU, the same numbers in the same memory, every group of tensors as one `[S, P]`.
    """

    parameters: dict[str, Params]
    targets: dict[str, Params]
    first_moments: dict[str, Params]
    second_moments: dict[str, Params]
    steps: Tensor
    alive: Tensor
    joined: "TrainState | None" = None

    def state_dict(self) -> dict[str, Any]:
        """Nested dictionaries of tensors, sharing memory with this state."""
        return {name: value for name, value in vars(self).items() if name != "joined"}

    def clone(self) -> "TrainState":
        """A copy that shares nothing with this state."""
        return TrainState(**tree_map(torch.clone, self.state_dict()))

    def to(self, device: torch.device | str) -> "TrainState":
        """This state on `device`; on a GPU, each group's tensors are views of one."""
        there = TrainState(**tree_map(lambda tensor: tensor.to(device), self.state_dict()))
        return there._join() if usable(there.steps) else there

    def _join(self) -> "TrainState":
        groups, joined, zero = self.state_dict(), self.state_dict(), torch.zeros_like(self.steps)
        for field in ("parameters", "targets", "first_moments", "second_moments"):
            wholes = {group: join(params, zero) for group, params in groups[field].items()}
            groups[field] = {group: _parts(whole, groups[field][group]) for group, whole in wholes.items()}
            joined[field] = {group: {_ALL: whole.flatten(1)} for group, whole in wholes.items()}
        return TrainState(**groups, joined=TrainState(**joined))

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
                moved = state
                if state.joined is not None:
                    moved = state.joined
                    zero = torch.zeros_like(state.steps)
                    gradients = {
                        group: {_ALL: join(each, zero).flatten(1)} for group, each in gradients.items()
                    }
                norms = {group: norms_by_seed(gradients[group]) for group in stage.rates}
                _freeze_diverged(moved, gradients, norms)
                count = state.steps if stage.every == 1 else (state.steps / stage.every).ceil()
                for group, rate in stage.rates.items():
                    if config.max_gradient_norm is not None:
                        clip_by_seed(gradients[group], norms[group], config.max_gradient_norm)
                    diagnostics[f"{group}_gradient_norm"] = norms[group]
                    now = rate(state.steps - 1) if callable(rate) else rate
                    _adam(moved, group, gradients[group], now, count, stage.weight_decay)
                for group in stage.targets:
                    _polyak(moved, group, config.polyak_rate, stage.target_period)
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
        loss, [leaves[group][name] for group, name in flat], torch.ones_like(loss), materialize_grads=True
    )
    gradients: dict[str, Params] = {group: {} for group in leaves}
    for (group, name), grad in zip(flat, grads, strict=True):
        # torch's fused Adam does not look at strides; where groups are joined, they are copied anyway.
        gradients[group][name] = grad.contiguous() if state.joined is None else grad
    return gradients, diagnostics


def join(params: Params, zero: Tensor) -> Tensor:
    """A group's numbers, `[S, P]` or, where all tensors have members, `[S, K, P]`, `zero` in the gaps."""
    tensors = list(params.values())
    lead = 2 if all(t.dim() > 2 and t.shape[:2] == tensors[0].shape[:2] for t in tensors) else 1
    parts = []
    for tensor in tensors:
        rows = tensor.reshape(*tensor.shape[:lead], -1)
        parts += [rows, zero.expand(*tensor.shape[:lead], -rows.shape[-1] % _ALIGNED)]
    return torch.cat(parts, -1)


def _parts(whole: Tensor, params: Params) -> Params:
    """Views of `join(params)`, shaped as `params`."""
    parts, at = {}, 0
    for name, tensor in params.items():
        size = tensor[(0,) * (whole.dim() - 1)].numel()
        parts[name] = whole[..., at : at + size].view(tensor.shape)
        at += size + -size % _ALIGNED
    return parts


def _adam(
    state: TrainState, group: str, gradients: Params, rate: float | Tensor, count: Tensor, decay: float
) -> None:
    names = list(gradients)
    if names == [_ALL]:
        speed = rate if isinstance(rate, Tensor) else torch.full_like(count, rate)
        moments = state.first_moments[group], state.second_moments[group]
        for name in names:
            of_name = (each[name] for each in (state.parameters[group], gradients, *moments))
            adam(*of_name, state.alive, count, speed, decay)
        return
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
        beta1=BETAS[0],
        beta2=BETAS[1],
        weight_decay=decay,
        eps=EPSILON,
        amsgrad=False,
        maximize=False,
    )


def norms_by_seed(gradients: Params) -> Tensor:
    """The joint norm of one network's gradients, `[S]`."""
    if list(gradients) == [_ALL]:
        norms: Tensor = torch.linalg.vector_norm(gradients[_ALL], dim=1)
        return norms
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
    largest = torch.stack(list(norms.values())).amax(0)  # NaN, if one of them is
    state.alive.logical_and_(largest < torch.inf)
    if all(list(each) == [_ALL] for each in gradients.values()):
        return  # there `adam` leaves them out
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
    if period == 1 and len(targets) > 1:
        torch._foreach_lerp_(targets, sources, rate)
        return
    if period == 1:
        targets[0].lerp_(sources[0], rate)
        return
    # A tensor decides, not Python: reading the step number would make a GPU wait.
    weight = rate * (state.steps % period == 0)
    for target, source in zip(targets, sources, strict=True):
        target.lerp_(source, weight.to(target.dtype))
