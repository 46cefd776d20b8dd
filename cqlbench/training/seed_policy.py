"""A seed batch's policies as a module, for torchrl's collectors."""

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase

from cqlbench.algorithms.networks import ActionBox
from cqlbench.errors import ConfigError
from cqlbench.training.engine import Engine


class SeedPolicy(TensorDictModuleBase):  # type: ignore[misc]  # tensordict has no types
    """Samples every seed's action at its own observations: `observation` `[S, …, O]` -> `action` `[S, …, A]`.

    It reads the engine's parameters as they are at the time of the call: there are no weights to update, and
    it cannot leave the process. Noise comes from torch's global stream.

    Args:
        engine: of continuous actions.

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

    @torch.no_grad()
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write `action`; batch size `[S]` or `[S, environments per seed]`."""
        observations = tensordict.get("observation")
        rows = observations.view(len(self._engine.seeds), -1, observations.shape[-1])
        normals = torch.randn(*rows.shape[:2], self._engine.actions.size, device=self._engine.device)
        actions = self._engine.sample_actions(rows, normals)
        shape = (*tensordict.batch_size, actions.shape[-1])
        tensordict.set("action", actions.view(shape).to(observations.device))
        return tensordict
