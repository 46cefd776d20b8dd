"""`EnvpoolEnv`: envpool's environments as one torchrl environment.

torchrl's own wrapper imports `gym`, whose place gymnasium has taken.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Bounded, Categorical, Composite, OneHot, Unbounded
from torchrl.envs import EnvBase

from cqlbench.core.errors import UserError
from cqlbench.core.seeding import Purpose, environment_seeds
from cqlbench.environments.make import EnvironmentSpec, VectorEnvironment, make_environments


class EnvpoolEnv(EnvBase):  # type: ignore[misc]  # torchrl is untyped
    """Steps a batch of environments in envpool's threads; each has a seed of its own.

    Batch size `[N]`, or with a sequence of seeds `[S, N]`, where each seed has its own `N` environments: what
    they do does not depend on the other seeds. Observations and rewards are float32, actions float32 or
    one-hot. `terminated` is the task's own end and `truncated` the time limit's; in the step in which both
    come, envpool reports the second alone.

    Args:
        spec: the environment, or its id.
        seeds: an int, or one int per row of the batch.
        environments: `N`.
        threads: worker threads; 0 takes one per usable core. They change no number.
        discrete: whether its actions are discrete.
        device: where tensors are handed over; the simulation is on the CPU.

    Raises:
        UserError: envpool is missing or lacks the environment, or its spaces are others.
    """

    def __init__(
        self,
        spec: EnvironmentSpec | str,
        seeds: int | Sequence[int] = 0,
        environments: int = 1,
        *,
        threads: int = 0,
        discrete: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        try:
            import envpool  # noqa: F401
        except ImportError as error:
            raise UserError(
                "EnvpoolEnv needs envpool, which cannot be imported here (it exists for Linux: `pip install"
                " envpool`); elsewhere use torchrl's GymEnv."
            ) from error
        if environments < 1 or (not isinstance(seeds, int) and not len(seeds)):
            raise UserError(
                f"{environments} environments for the seeds {seeds}: at least one each is needed."
            )
        shape = [environments] if isinstance(seeds, int) else [len(seeds), environments]
        super().__init__(device=torch.device(device), batch_size=torch.Size(shape))
        self._environment = EnvironmentSpec(spec) if isinstance(spec, str) else spec
        self._threads, self._discrete = threads, discrete
        self._pool = self._make([seeds] if isinstance(seeds, int) else seeds)
        self._observations = np.zeros((self.numel(), self._pool.observation_size))
        self._make_specs()

    def _make(self, seeds: Sequence[int]) -> VectorEnvironment:
        count = self.batch_size[-1]
        every = [each for seed in seeds for each in environment_seeds(seed, Purpose.ENVIRONMENT, count)]
        return make_environments(self._environment, every, "envpool", self._threads, discrete=self._discrete)

    def _make_specs(self) -> None:
        batch, device = self.batch_size, self.device
        size = self._pool.observation_size
        observation = Unbounded((*batch, size), device=device, dtype=torch.float32)
        self.observation_spec = Composite(observation=observation, shape=batch, device=device)
        low, high = self._pool.action_low, self._pool.action_high
        if self._discrete:
            self.action_spec = OneHot(len(low), (*batch, len(low)), device=device)
        else:
            bounds = (torch.from_numpy(each).to(device).expand(*batch, -1).clone() for each in (low, high))
            self.action_spec = Bounded(*bounds, (*batch, len(low)), device=device, dtype=torch.float32)
        self.reward_spec = Unbounded((*batch, 1), device=device, dtype=torch.float32)
        flag = Categorical(2, (*batch, 1), device=device, dtype=torch.bool)
        flags = {name: flag.clone() for name in ("done", "terminated", "truncated")}
        self.done_spec = Composite(flags, shape=batch, device=device)

    def _reset(self, tensordict: TensorDictBase | None = None, **_: object) -> TensorDictBase:
        mask = None if tensordict is None else tensordict.get("_reset", None)
        where = np.ones(self.numel(), np.bool_) if mask is None else mask.numpy(force=True).reshape(-1)
        if where.any():
            self._observations = np.where(where[:, None], self._pool.reset_some(where), self._observations)
        # The flags of rows that are not reset are put back by torchrl.
        nowhere = np.zeros(self.numel(), np.bool_)
        return TensorDict(self._seen() | self._flags(nowhere, nowhere), self.batch_size, device=self.device)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        actions = tensordict.get("action").to("cpu", torch.float32).reshape(self.numel(), -1)
        step = self._pool.step(actions.numpy())
        self._observations = step.observations
        values = self._seen() | self._flags(step.terminated, step.truncated)
        values["reward"] = self._tensor(step.rewards.astype(np.float32))
        return TensorDict(values, self.batch_size, device=self.device)

    def _set_seed(self, seed: int | None) -> None:
        """Start again: `[N]` with this seed, row `s` of `[S, N]` with `seed + s`."""
        rows = self.batch_size[0] if len(self.batch_size) == 2 else 1
        # envpool seeds environments when they are made.
        self._pool.close()
        self._pool = self._make([(seed or 0) + row for row in range(rows)])

    def _seen(self) -> dict[str, Tensor]:
        return {"observation": self._tensor(self._observations.astype(np.float32))}

    def _flags(self, terminated: NDArray[np.bool_], truncated: NDArray[np.bool_]) -> dict[str, Tensor]:
        flags = {"done": terminated | truncated, "terminated": terminated, "truncated": truncated}
        return {name: self._tensor(flag) for name, flag in flags.items()}

    def _tensor(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).view(*self.batch_size, -1)

    def close(self, *, raise_if_closed: bool = True) -> None:
        """Free threads and simulators."""
        super().close(raise_if_closed=raise_if_closed)
        self._pool.close()
