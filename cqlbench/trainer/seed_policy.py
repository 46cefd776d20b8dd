"""A seed batch's policies as a module, for torchrl's collectors."""

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase

from cqlbench.algorithms.networks import ActionBox
from cqlbench.core.errors import ConfigError
from cqlbench.engine.engine import Engine
from cqlbench.engine.streams import ExplorationStream


class SeedPolicy(TensorDictModuleBase):  # type: ignore[misc]  # tensordict has no types
    """Samples every seed's action at its own observations: `observation` `[S, …, O]` -> `action` `[S, …, A]`.

    It reads the engine's parameters as they are at the time of the call: there are no weights to update, and
    it cannot leave the process. Noise is a function of (seed, number of the call).

    Args:
        engine: of continuous actions.

    Attributes:
        calls: how often it has acted.

    Raises:
        ConfigError: its actions are discrete.
    """

    in_keys = ["observation"]  # noqa: RUF012 (as the base class wants them)
    out_keys = ["action"]  # noqa: RUF012

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        if not isinstance(engine.actions, ActionBox):
            raise ConfigError("A SeedPolicy samples continuous actions, and this engine's are discrete.")
        self._engine = engine
        self._noise: ExplorationStream | None = None
        self.calls = 0

    @torch.no_grad()
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write `action`; batch size `[S]` or `[S, environments per seed]`."""
        observations = tensordict.get("observation")
        rows = observations.view(len(self._engine.seeds), -1, observations.shape[-1])
        if self._noise is None:
            size, device = self._engine.actions.size, self._engine.device
            self._noise = ExplorationStream(self._engine.seeds, rows.shape[1], size, device)
            if self._engine.online is not None:  # of a trainer that goes on
                self.calls = self._engine.online.rows.rows // rows.shape[1]
        actions = self._engine.sample_actions(rows, self._noise.normals(self.calls))
        self.calls += 1
        shape = (*tensordict.batch_size, actions.shape[-1])
        tensordict.set("action", actions.view(shape).to(observations.device))
        return tensordict
