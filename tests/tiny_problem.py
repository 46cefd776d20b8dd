"""A tiny offline problem."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer

from cqlbench.algorithms.algorithm import AlgorithmConfig
from cqlbench.algorithms.cql import CQLConfig
from cqlbench.algorithms.networks import ActionBox, ActionSpace
from cqlbench.data.preprocess import ObservationNormalizer, RewardTransform
from cqlbench.engine.dataset_tensors import Columns
from cqlbench.engine.engine import Engine
from cqlbench.trainer.cql_loss import CQLLoss

T, O, A = 200, 4, 2  # noqa: E741
CPU = torch.device("cpu")


def _columns() -> Columns:
    generator = torch.Generator().manual_seed(0)
    return Columns(
        observations=3 + 2 * torch.randn(T, O, generator=generator),
        actions=torch.randn(T, A, generator=generator).tanh(),
        rewards=torch.randn(T, generator=generator),
        next_observations=3 + 2 * torch.randn(T, O, generator=generator),
        terminated=torch.rand(T, generator=generator) < 0.1,
    )


@pytest.fixture
def make_engine() -> Callable[..., Engine]:
    def make(
        *seeds: int,
        columns: Columns | None = None,
        actions: ActionSpace | None = None,
        device: torch.device = CPU,
        algorithm: type[AlgorithmConfig] = CQLConfig,
        **changes: object,
    ) -> Engine:
        small = {"hidden": [8]}
        if algorithm is CQLConfig:
            small = {"actor_hidden": [8], "critic_hidden": [8], "proposals": 2}
        normalizer = ObservationNormalizer(np.full(O, 3, np.float32), np.full(O, 2, np.float32))
        return Engine(
            algorithm(**({"batch_size": 8} | small | changes)),
            columns or _columns(),
            normalizer,
            RewardTransform(scale=2.0, bias=1.0),
            actions or ActionBox.from_bounds(-torch.ones(A), torch.ones(A)),
            seeds or (0, 1),
            device,
        )

    return make


@pytest.fixture
def columns() -> Columns:
    return _columns()


@pytest.fixture
def make_loss() -> Callable[..., CQLLoss]:
    def make(seed: int = 0, observation_size: int = O, action_size: int = A, **changes: object) -> CQLLoss:
        small = {"actor_hidden": [8], "critic_hidden": [8], "batch_size": 8, "proposals": 2}
        box = torch.ones(action_size)
        return CQLLoss(CQLConfig(**(small | changes)), observation_size, -box, box, seed)

    return make


@pytest.fixture
def make_buffer() -> Callable[..., TensorDictReplayBuffer]:
    """A buffer of the tiny problem's rows, under torchrl's keys; `None` as `batch_size` gives it none."""

    def make(batch_size: int | None = 8, rows: int = T, **arguments: object) -> TensorDictReplayBuffer:
        columns = _columns()
        following = {
            "observation": columns.next_observations,
            "reward": columns.rewards[:, None],
            "terminated": columns.terminated[:, None],
            "done": columns.terminated[:, None],
        }
        data = TensorDict(
            {"observation": columns.observations, "action": columns.actions, "next": following}, [T]
        )
        buffer = TensorDictReplayBuffer(
            storage=LazyTensorStorage(2 * T), **({"batch_size": batch_size} | arguments)
        )
        if rows:
            buffer.extend(data[:rows])
        return buffer

    return make
