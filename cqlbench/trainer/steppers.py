"""What fills torchrl's optimisation seam: the fused step of a seed batch, or a step of any loss."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn
from torchrl.data import RandomSampler, ReplayBuffer, TensorStorage
from torchrl.objectives import CQLLoss as TorchrlCQLLoss
from torchrl.objectives import LossModule, SoftUpdate
from torchrl.objectives.utils import TargetNetUpdater
from torchrl.trainers.trainers import OptimizationStepper, Trainer

from cqlbench.algorithms.cql import CQLConfig
from cqlbench.algorithms.networks import ActionBox
from cqlbench.core.errors import ConfigError
from cqlbench.data.preprocess import ObservationNormalizer, RewardTransform
from cqlbench.engine.dataset_tensors import Columns
from cqlbench.engine.engine import Engine
from cqlbench.trainer.cql_loss import CQLLoss

Loss = Callable[[TensorDictBase], TensorDictBase]
"""A batch -> its loss components, `loss_*`, scalars, and whatever else is worth logging."""

TORCHRL_CQL_COMPONENTS = ("loss_actor", "loss_qvalue", "loss_cql", "loss_alpha", "loss_alpha_prime")
"""What torchrl's `CQLTrainer` minimises of its `CQLLoss`, which returns a behaviour cloning loss as well."""


class FusedStepper(OptimizationStepper):  # type: ignore[misc]  # torchrl has no types
    """Gradient steps of every seed: losses, Adam and target update in one function.

    Attributes:
        engine: the seed batch.
        taken: how many the last call took: one, or a whole chunk where they are one CUDA graph.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.taken = 0

    def step(self, trainer: Trainer, sub_batch: TensorDictBase | None = None, at_most: int = 1) -> TensorDict:
        """Take the trainer's next gradient steps, `at_most` so many; the engine draws the batches itself.

        Returns:
            The last step's diagnostics, detached, one `[S]` tensor each; nothing where no hook sees them.
        """
        del sub_batch  # torchrl's signature
        self.taken = self.engine.advance(trainer.gradient_steps, at_most)
        if not trainer._post_optim_complete_log_ops:  # making them costs as much as the rest of the loop
            return TensorDict()
        return TensorDict(self.engine.latest_diagnostics(), batch_size=[len(self.engine.seeds)])


class LossStepper(OptimizationStepper):  # type: ignore[misc]
    """One gradient step of any loss: the sum of its components, clipping, optimiser, targets.

    All `loss_*` are summed, and `loss`. Of torchrl's own `CQLLoss` and its subclasses, only those of
    `TORCHRL_CQL_COMPONENTS` are, as by torchrl's trainer. An `optimizer` hook takes the place of the backward
    pass and the step.

    Args:
        loss: the loss.
        optimizer: its optimiser.
        target_updater: called after each step.
        clip_grad_norm: scale the gradients to a joint norm of at most `clip_norm`; otherwise clamp each.
        clip_norm: the bound; `None` clips by a `CQLLoss`'s own `max_gradient_norm`, for each network.
    """

    taken = 1

    def __init__(
        self,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        target_updater: TargetNetUpdater | None,
        clip_grad_norm: bool,
        clip_norm: float | None,
    ) -> None:
        self._loss, self._optimizer, self._target_updater = loss, optimizer, target_updater
        self._by_norm, self._bound = clip_grad_norm, clip_norm
        self._network_bound = loss.config.max_gradient_norm if isinstance(loss, CQLLoss) else None

    def step(self, trainer: Trainer, sub_batch: TensorDictBase, at_most: int = 1) -> TensorDict:
        """Take one gradient step on `sub_batch`.

        Returns:
            All that the loss returned, and `grad_norm` before clipping: scalars, detached.

        Raises:
            ConfigError: the loss returned no component.
        """
        del at_most
        losses = trainer.compute_loss(sub_batch)
        trainer._post_loss_hook(sub_batch)
        losses = trainer._process_loss_hook(sub_batch, losses)
        if trainer._optimizer_ops:
            losses = trainer._optimizer_hook(losses)
        else:
            components = [value for name, value in losses.items() if self._is_component(name)]
            if not components:
                raise ConfigError(
                    "The loss returned no component whose name starts with 'loss_': it returned"
                    f" {', '.join(map(str, losses.keys())) or 'nothing'}."
                )
            torch.stack([component.mean() for component in components]).sum().backward()  # type: ignore[no-untyped-call]
            losses["grad_norm"] = self._clip()
            self._optimizer.step()
            self._optimizer.zero_grad()
        self._update_targets()
        values = {name: each.detach() for name, each in losses.items() if isinstance(each, Tensor)}
        scalars = {name: each.float().mean() if each.dim() else each for name, each in values.items()}
        return TensorDict(scalars, batch_size=[])

    def _is_component(self, name: Any) -> bool:
        if isinstance(getattr(self._loss, "_orig_mod", self._loss), TorchrlCQLLoss):  # torch.compile wraps
            return name in TORCHRL_CQL_COMPONENTS
        return isinstance(name, str) and (name == "loss" or name.startswith("loss_"))

    def _clip(self) -> Tensor:
        """Clip the gradients; returns their joint norm before."""
        groups = [
            [p for p in group["params"] if p.grad is not None] for group in self._optimizer.param_groups
        ]
        everything = [parameter for group in groups for parameter in group]
        norm = nn.utils.get_total_norm([parameter.grad for parameter in everything])
        if self._bound is not None and self._by_norm:
            nn.utils.clip_grads_with_norm_(everything, self._bound, norm)
        elif self._bound is not None:
            nn.utils.clip_grad_value_(everything, self._bound)
        elif self._network_bound is not None:
            for group in groups:
                nn.utils.clip_grad_norm_(group, self._network_bound)
        return norm

    def _update_targets(self) -> None:
        if self._target_updater is not None:
            self._target_updater.step()
            if isinstance(self._loss, CQLLoss):
                self._loss.count_step()
        elif isinstance(self._loss, CQLLoss):
            self._loss.update_targets()


def default_optimizer(loss: Loss) -> torch.optim.Optimizer:
    """One Adam with a parameter group per network of `loss`.

    A `CQLLoss` brings its learning rates; the networks of another module get 3e-4 each.

    Raises:
        ConfigError: `loss` has no parameters of its own.
    """
    if isinstance(loss, CQLLoss):
        return torch.optim.Adam(loss.parameter_groups())
    networks: dict[str, list[nn.Parameter]] = {}
    if isinstance(loss, nn.Module):
        for name, parameter in loss.named_parameters():
            if parameter.requires_grad:
                networks.setdefault(name.partition(".")[0], []).append(parameter)
    if not networks:
        raise ConfigError("The loss has no parameters to train by itself: pass an 'optimizer' that has them.")
    groups = [{"name": name, "params": parameters} for name, parameters in networks.items()]
    return torch.optim.Adam(groups, lr=CQLConfig.critic_learning_rate)


def default_target_updater(loss: Loss) -> TargetNetUpdater | None:
    """Polyak averaging at `CQLConfig`'s rate for a torchrl loss with target networks; else `None`."""
    if not isinstance(loss, LossModule) or isinstance(loss, CQLLoss):
        return None
    targets = [name for name, _ in loss.named_children() if name.startswith("target_")]
    return SoftUpdate(loss, tau=CQLConfig.polyak_rate) if targets else None


def seed_batch(
    loss: Any, buffer: ReplayBuffer, seeds: Sequence[int], clip_grad_norm: bool, clip_norm: float | None
) -> Engine:
    """The fused step that trains `loss` on `buffer` for each of `seeds`, from each seed's own parameters.

    Rows are taken as they are: preprocess the buffer beforehand.

    Raises:
        ConfigError: this loss, buffer or clipping is not what the fused step computes.
    """
    if not isinstance(loss, CQLLoss):
        raise ConfigError("A sequence of seeds trains a 'CQLLoss' only: pass that, or an int.")
    if not (
        isinstance(buffer.storage, TensorStorage)
        and type(buffer.sampler) is RandomSampler
        and not len(buffer._transform)
    ):
        raise ConfigError(
            "A sequence of seeds draws rows uniformly and as they are: pass a replay buffer with a tensor"
            " storage, a 'RandomSampler' and no transforms, or an int as 'seed'."
        )
    config = loss.config
    if buffer.batch_size not in (None, config.batch_size):
        raise ConfigError(
            f"The replay buffer's batch_size is {buffer.batch_size} and the loss's {config.batch_size}:"
            " leave the buffer's out, or make them equal."
        )
    if clip_norm is not None and not clip_grad_norm:
        raise ConfigError("Clamping (clip_grad_norm=False) is for one seed: pass an int as 'seed'.")
    if clip_norm is not None:
        config = replace(config, max_gradient_norm=clip_norm)
    if not len(buffer):
        raise ConfigError("The replay buffer is empty: fill it before making the trainer.")
    try:
        columns = Columns.of(buffer, ("returns_to_go",))
    except (KeyError, AttributeError) as error:
        raise ConfigError(
            f"The replay buffer's rows lack a column ({error}): 'observation', 'action' and, under 'next',"
            " 'observation', 'reward' and 'terminated' are needed."
        ) from error
    identity = ObservationNormalizer.identity(columns.observations.shape[1])
    box = ActionBox.from_bounds(loss.low.cpu(), loss.high.cpu())
    return Engine(config, columns, identity, RewardTransform(), box, seeds, loss.low.device)
