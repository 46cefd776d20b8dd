"""A dataset as the fused step reads it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor
from torch.utils._pytree import tree_map
from torchrl.data import TensorDictReplayBuffer

from cqlbench.core.devices import free_memory


@dataclass(frozen=True)
class Columns:
    """A dataset as training reads it; on the CPU usually memory-mapped. Raw values, before preprocessing.

    Attributes:
        observations: `[T, O]` float32.
        actions: `[T, A]` float32; discrete ones one-hot.
        rewards: `[T]` float32.
        next_observations: `[T, O]` float32.
        terminated: `[T]` bool.
        extra: `[T]` or `[T, A]` float32 each: the algorithm's own columns (see `Algorithm.columns`).
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    next_observations: Tensor
    terminated: Tensor
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, buffer: TensorDictReplayBuffer, extra: Iterable[str] = ()) -> Self:
        """All rows of a replay buffer, without a copy where its storage is memory-mapped.

        `extra` columns are taken too where the rows have them beside `observation`.
        """
        rows = buffer.storage[: len(buffer)]

        def column(*key: str) -> Tensor:
            # A plain view of the mapped pages: the tensor subclass costs microseconds at every operation.
            mapped: Tensor = rows.get(key)
            return mapped.as_subclass(Tensor)

        present = [name for name in extra if rows.get(name, None) is not None]
        return cls(
            observations=column("observation"),
            actions=column("action"),
            rewards=column("next", "reward").flatten(),
            next_observations=column("next", "observation"),
            terminated=column("next", "terminated").flatten(),
            extra={name: column(name).flatten() for name in present},
        )

    def tensors(self) -> list[Tensor]:
        """The columns in the order of the fields."""
        plain = self.observations, self.actions, self.rewards, self.next_observations, self.terminated
        return [*plain, *self.extra.values()]

    def to(self, device: torch.device) -> Self:
        """The columns on `device`; nothing is copied where they are there already."""
        return self._each(lambda column: column.to(device))

    def chosen(self, rows: Tensor) -> Self:
        """The rows where `rows`, `[T]` bool, is true, copied."""
        return self._each(lambda column: column[rows])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        return replace(self, **tree_map(change, vars(self) | {"extra": dict(self.extra)}))


class Gather:
    """`gather(step)`: the dataset's rows of gradient step `step`, every column `[R, …]` on the device.

    On a GPU the columns stand side by side in one float32 matrix, so that one kernel gathers a batch.

    Columns are `[T, …]` each; `indices(step)`, on their device, are the row numbers `[S, R / S]`.
    """

    def __init__(
        self, columns: Sequence[Tensor], indices: Callable[[int], Tensor], device: torch.device
    ) -> None:
        self._columns, self._indices, self._device = columns, indices, device
        self._shapes = [column.shape[1:] for column in columns]
        self._matrix: Tensor | None = None
        if columns[0].device.type == "cuda":
            self._matrix = torch.cat([column.reshape(len(column), -1).float() for column in columns], 1)

    def __call__(self, step: int, count: int | None = None, seeds: slice = slice(None)) -> list[Tensor]:
        """The rows of `step` of some seeds: the first `count` of each one's batch, or all."""
        indices = self._indices(step)[seeds, :count].reshape(-1)
        if self._matrix is not None:
            rows, widths = self._matrix.index_select(0, indices), [shape.numel() for shape in self._shapes]
            parts = zip(torch.split(rows, widths, 1), self._shapes, strict=True)
            return [part.view(len(indices), *shape) for part, shape in parts]
        return [column.index_select(0, indices).to(self._device) for column in self._columns]


def fits(tensors: Iterable[Tensor], device: torch.device) -> bool:
    """Whether `device` has room for two copies of `tensors`, with as much left over for training."""
    if device.type != "cuda":
        return True
    return 3 * sum(tensor.nbytes for tensor in tensors) < free_memory(device)
