"""`CQLLoss`: the project's losses as a torchrl `LossModule`, for people's own torchrl loops."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase, TensorDictParams
from torch import Tensor, nn
from torch.distributions import Normal
from torchrl.envs.utils import ExplorationType, exploration_type
from torchrl.objectives.common import LossModule

from cqlbench.algorithms.algorithm import Batch, Networks, Spaces
from cqlbench.algorithms.cql import CQL, CQLConfig
from cqlbench.algorithms.cql.losses import losses
from cqlbench.algorithms.networks import ActionBox, Params, actor_distribution
from cqlbench.algorithms.step import initial_state


class Actor(TensorDictModuleBase):  # type: ignore[misc]  # tensordict has no types
    """The policy as a tensordict module: reads `observation`, writes `action`.

    As torchrl's actors do, it obeys `set_exploration_type`: with `RANDOM`, which collectors set, actions are
    sampled; with any other type, or none, they are the policy's mode. Samples are drawn from torch's global
    stream, which torchrl's collectors seed in each of their workers, so that copies of the actor explore
    differently.
    """

    in_keys = ("observation",)
    out_keys = ("action",)

    def __init__(self, params: Params, low: Tensor, high: Tensor) -> None:
        super().__init__()
        self.params = nn.ParameterDict({_safe(name): nn.Parameter(p) for name, p in params.items()})
        self.register_buffer("low", low)
        self.register_buffer("high", high)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write actions `[…, A]` for observations `[…, O]`."""
        observations = tensordict.get("observation")
        rows = observations.reshape(1, -1, observations.shape[-1])
        box = ActionBox.from_bounds(self.low, self.high)
        policy = actor_distribution(_params(self.params), rows, box)
        if exploration_type() is ExplorationType.RANDOM:
            standard = Normal(torch.zeros_like(policy.mean), torch.ones_like(policy.mean))
            normals = standard.sample()  # type: ignore[no-untyped-call]
            actions, _ = policy.sample(normals)
        else:
            actions = policy.mode()
        tensordict.set("action", actions.view(*observations.shape[:-1], -1))
        return tensordict


class CQLLoss(LossModule):  # type: ignore[misc]  # torchrl has no types
    """CQL's losses for one seed, on torchrl's batches; every option of `CQLConfig` works.

    Components: `loss_qvalue` (critics, penalty included), `loss_actor`, `loss_alpha` (entropy temperature)
    and `loss_alpha_prime` (Lagrange multiplier; 0 without it). Each depends on its own parameters alone, so
    their sum may be differentiated at once, with any optimiser. `actor_network` is a policy for collectors.
    `update_targets` moves the target critics; call it after the optimiser's step. torchrl's `SoftUpdate` and
    `HardUpdate` may do so in its place; `count_step` then counts the gradient steps. The module may be moved
    to a device or a dtype like any other, and its `state_dict` holds its noise generator too.

    Args:
        config: the algorithm.
        observation_size: O.
        low: `[A]`, the action box's lower corner.
        high: `[A]`, its upper corner.
        seed: of the initial parameters and of the losses' noise.
    """

    def __init__(
        self, config: CQLConfig, observation_size: int, low: Tensor, high: Tensor, seed: int = 0
    ) -> None:
        super().__init__()
        self.config = config
        self._generator = torch.Generator().manual_seed(seed)
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        self._algorithm = CQL(config, Spaces(observation_size, ActionBox.from_bounds(low, high)))
        # As ever, the same numbers are drawn with a penalty and without one.
        self._draws = CQL(replace(config, conservative_weight=1.0), self._algorithm.spaces).draws()
        state = initial_state(self._algorithm, [seed])
        self.actor_network = Actor(state.parameters["actor"], low, high)
        self.critics = nn.ParameterDict(
            {_safe(name): nn.Parameter(p) for name, p in state.parameters["critics"].items()}
        )
        self.log_temperature = nn.Parameter(
            state.parameters["temperature"]["log"], requires_grad=config.learn_entropy_temperature
        )
        self.log_multiplier = nn.Parameter(
            state.parameters["multiplier"]["log"], requires_grad=config.lagrange
        )
        # Names and types as torchrl's updaters look for them.
        targets = {_safe(name): target for name, target in state.targets["critics"].items()}
        self.target_critics_params = TensorDictParams(TensorDict(targets, batch_size=[]), no_convert=True)
        # Or reading the targets warns: they have `update_targets`.
        self._has_update_associated["critics"] = True
        self.register_buffer("steps", state.steps)

    @property
    def in_keys(self) -> Sequence[str | tuple[str, ...]]:
        """What a batch must hold."""
        following = [("next", name) for name in ("observation", "reward", "terminated")]
        return ["observation", "action", *following, *self._algorithm.columns()]

    @property
    def out_keys(self) -> Sequence[str]:
        """The losses; diagnostics come beside them."""
        return ["loss_qvalue", "loss_actor", "loss_alpha", "loss_alpha_prime"]

    def forward(self, tensordict: TensorDictBase) -> TensorDict:
        """The losses of a batch `[B]`, scalars, and detached diagnostics.

        Raises:
            ConfigError: `config` is calibrated, and the batch has no `returns_to_go`.
        """
        extra = {name: tensordict.get(name, None) for name in self._algorithm.columns()}
        batch = Batch(
            observations=tensordict.get("observation").unsqueeze(0),
            actions=tensordict.get("action").unsqueeze(0),
            rewards=tensordict.get(("next", "reward")).reshape(1, -1),
            next_observations=tensordict.get(("next", "observation")).unsqueeze(0),
            terminated=tensordict.get(("next", "terminated")).reshape(1, -1).float(),
            extra={name: column.reshape(1, -1) for name, column in extra.items() if column is not None},
        )
        parameters: dict[str, Params] = {
            "actor": _params(self.actor_network.params),
            "critics": _params(self.critics),
            "temperature": {"log": self.log_temperature},
            "multiplier": {"log": self.log_multiplier},
        }
        networks = Networks(parameters, {"critics": self._targets()}, self.steps + 1)
        box = ActionBox.from_bounds(self.low, self.high)
        result = losses(networks, batch, self._noise(batch), self.config, box)
        multiplier = result.multiplier
        values = {
            "loss_qvalue": result.critic,
            "loss_actor": result.actor,
            "loss_alpha": result.temperature,
            "loss_alpha_prime": torch.zeros_like(result.critic) if multiplier is None else multiplier,
            **result.diagnostics,
        }
        return TensorDict({name: value.squeeze(0) for name, value in values.items()}, batch_size=[])

    @torch.no_grad()
    def update_targets(self) -> None:
        """Count a gradient step, and move the target critics towards the critics when it is their turn."""
        self.count_step()
        if int(self.steps) % self.config.target_update_period == 0:
            targets = self._targets()
            for name, source in _params(self.critics).items():
                targets[name].lerp_(source, self.config.polyak_rate)

    def count_step(self) -> None:
        """Count a gradient step whose target update somebody else does."""
        self.steps += 1

    def parameter_groups(self) -> list[dict[str, Any]]:
        """One group for an optimiser per network that learns, with its learning rate from the config."""
        parameters = {
            "actor": list(self.actor_network.parameters()),
            "critics": list(self.critics.parameters()),
            "temperature": [self.log_temperature],
            "multiplier": [self.log_multiplier],
        }
        rates = self._algorithm.rates()
        return [{"name": name, "params": parameters[name], "lr": rate} for name, rate in rates.items()]

    def set_seed(self, seed: int) -> None:
        """Restart the losses' noise from `seed`; parameters stay the same."""
        self._generator.manual_seed(seed)

    def get_extra_state(self) -> Tensor:
        """The noise generator's state, for `state_dict`."""
        return self._generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Resume with the noise generator's state from `state_dict`."""
        self._generator.set_state(state.cpu())

    @property
    def critics_params(self) -> TensorDict:
        """The critics' parameters under the names that their targets have in `target_critics_params`."""
        return TensorDict(dict(self.critics.items()), batch_size=[])

    def _targets(self) -> Params:
        return {name.replace("_", "."): target for name, target in self.target_critics_params.items()}

    def _noise(self, batch: Batch) -> dict[str, Tensor]:
        S, B, _ = batch.actions.shape
        drawn = {}
        for name, (kind, (_, *shape)) in sorted(self._draws.items(), key=lambda item: -len(item[1].kind)):
            empty = torch.empty(S, B, *shape)
            if kind == "uniform":
                empty.uniform_(-1, 1, generator=self._generator)
            else:
                empty.normal_(generator=self._generator)
            drawn[name] = empty.to(batch.actions)
        return drawn


# torchrl has losses run with a deterministic exploration type, which is the whole process's: a collector's
# thread would not explore meanwhile. Ours draws from its own generator.
CQLLoss.forward = CQLLoss.forward.__wrapped__  # type: ignore[method-assign, attr-defined]


def _safe(name: str) -> str:
    # Parameter names may not hold dots.
    return name.replace(".", "_")


def _params(parameters: nn.ParameterDict) -> Params:
    return {name.replace("_", "."): parameter for name, parameter in parameters.items()}
