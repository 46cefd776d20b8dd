"""What is timed: a network size and a seed batch on Hopper's dimensions, and the matrix products in it."""

import itertools
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from cqlbench.algorithms import algorithm_of
from cqlbench.algorithms.algorithm import AlgorithmConfig, Batch, Rows, Spaces
from cqlbench.algorithms.cql import CQLConfig
from cqlbench.algorithms.networks import ActionBox
from cqlbench.data.preprocess import ObservationNormalizer, RewardTransform
from cqlbench.engine.dataset_tensors import Columns
from cqlbench.engine.engine import Engine

OBSERVATION_SIZE, ACTION_SIZE = 11, 3
"""Hopper's."""


@dataclass(frozen=True)
class Workload:
    """One row of the speed table.

    Attributes:
        seeds: S.
        hidden: hidden layer sizes of actor and critics.
        batch_size: B.
        proposals: N.
        critics: K.
    """

    seeds: int
    hidden: tuple[int, ...]
    batch_size: int = 256
    proposals: int = 10
    critics: int = 2

    @property
    def name(self) -> str:
        """`256x3`."""
        return f"{self.hidden[0]}x{len(self.hidden)}"

    def config(self) -> CQLConfig:
        """CORL's settings at this size."""
        return CQLConfig(
            actor_hidden=list(self.hidden),
            critic_hidden=list(self.hidden),
            batch_size=self.batch_size,
            proposals=self.proposals,
            critics=self.critics,
        )

    def engine(self, device: torch.device, rows: int = 100_000) -> Engine:
        """The project's training on made-up data."""
        return engine_of(self.config(), self.seeds, device, rows)

    def batch(self, device: torch.device, seed: int = 0) -> Batch:
        """Made-up transitions of the right shapes."""
        generator = torch.Generator().manual_seed(seed)
        S, B = self.seeds, self.batch_size
        columns = [
            torch.randn(S, B, OBSERVATION_SIZE, generator=generator),
            torch.randn(S, B, ACTION_SIZE, generator=generator).tanh(),
            torch.randn(S, B, generator=generator),
            torch.randn(S, B, OBSERVATION_SIZE, generator=generator),
            (torch.rand(S, B, generator=generator) < 0.01).float(),
        ]
        observations, actions, rewards, following, terminated = (column.to(device) for column in columns)
        return Batch(observations, actions, rewards, following, terminated)


def made_up(rows: int = 100_000, device: torch.device | None = None) -> Columns:
    """Made-up rows, in episodes of a thousand."""
    generator = torch.Generator().manual_seed(0)
    return Columns(
        observations=torch.randn(rows, OBSERVATION_SIZE, generator=generator),
        actions=torch.randn(rows, ACTION_SIZE, generator=generator).tanh(),
        rewards=torch.randn(rows, generator=generator),
        next_observations=torch.randn(rows, OBSERVATION_SIZE, generator=generator),
        terminated=torch.rand(rows, generator=generator) < 0.01,
    ).to(device or torch.device("cpu"))


def engine_of(config: AlgorithmConfig, seeds: int, device: torch.device, rows: int = 100_000) -> Engine:
    """The project's training of any algorithm on made-up data."""
    box = ActionBox.from_bounds(-torch.ones(ACTION_SIZE), torch.ones(ACTION_SIZE))
    columns = made_up(rows)
    lasts = columns.terminated.numpy() | (np.arange(rows) % 1000 == 999)
    lasts[-1] = True
    table = Rows(
        columns.actions.numpy(), columns.rewards.numpy(), columns.terminated.numpy(), lasts, lowest=-5.0
    )
    wanted = algorithm_of(config, Spaces(OBSERVATION_SIZE, box)).columns()
    extra = {name: torch.as_tensor(column(table)) for name, column in wanted.items()}
    return Engine(
        config,
        replace(columns, extra=extra),
        ObservationNormalizer.identity(OBSERVATION_SIZE),
        RewardTransform(),
        box,
        range(seeds),
        device,
    )


@dataclass(frozen=True)
class Product:
    """`[groups, rows, inner] @ [groups, inner, columns]`, done `count` times."""

    groups: int
    rows: int
    inner: int
    columns: int
    count: int = 1

    @property
    def flops(self) -> int:
        """Floating-point operations, a multiply-add counted as two."""
        return 2 * self.groups * self.rows * self.inner * self.columns * self.count


@dataclass
class _Tally:
    products: list[Product] = field(default_factory=list)

    def network(self, groups: int, rows: int, sizes: list[int], *, weights: bool, inputs: bool) -> None:
        """A forward pass, and the backward pass to its weights and, with `inputs`, to its inputs."""
        for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
            self.products.append(Product(groups, rows, fan_in, fan_out))
            if weights:
                self.products.append(Product(groups, fan_in, rows, fan_out))
            if inputs or (weights and layer):
                self.products.append(Product(groups, rows, fan_out, fan_in))


def products(workload: Workload) -> list[Product]:
    """The matrix products of one CQL(H) step, none of which can be left out.

    The observation's share of a critic's first layer is counted once per state, because the action's share is
    all that differs between actions of one state.
    """
    S, B, K, N = workload.seeds, workload.batch_size, workload.critics, workload.proposals
    hidden = list(workload.hidden)
    tally = _Tally()
    tally.network(S, 2 * B, [OBSERVATION_SIZE, *hidden], weights=False, inputs=False)
    tally.network(S, 2 * B, [hidden[-1], 2 * ACTION_SIZE], weights=False, inputs=False)
    # The actor's gradient flows through the current states only.
    for layer, (fan_in, fan_out) in enumerate(
        zip([OBSERVATION_SIZE, *hidden], [*hidden, 2 * ACTION_SIZE], strict=True)
    ):
        tally.products.append(Product(S, fan_in, B, fan_out))
        if layer:
            tally.products.append(Product(S, B, fan_out, fan_in))
    critic = [OBSERVATION_SIZE + ACTION_SIZE, *hidden, 1]
    tally.network(S * K, B, critic, weights=False, inputs=False)  # target critics
    tally.network(S * K, B, critic, weights=False, inputs=True)  # the actor's loss, to the action
    rows = B * (3 * N + 1)
    for weights_of in ([OBSERVATION_SIZE, hidden[0]],):
        tally.network(S * K, B, weights_of, weights=True, inputs=False)
    tally.network(S * K, rows, [ACTION_SIZE, hidden[0]], weights=True, inputs=False)
    for fan_in, fan_out in zip(hidden, [*hidden[1:], 1], strict=True):
        tally.products.append(Product(S * K, rows, fan_in, fan_out))
        tally.products.append(Product(S * K, fan_in, rows, fan_out))
        tally.products.append(Product(S * K, rows, fan_out, fan_in))
    return tally.products
