"""A dataset as the fused step reads it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torchrl.data import TensorDictReplayBuffer


@dataclass(frozen=True)
class Columns:
    """A dataset as training reads it; on the CPU usually memory-mapped. Raw values, before preprocessing.

    Attributes:
        observations: `[T, O]` float32.
        actions: `[T, A]` float32; discrete ones one-hot.
        rewards: `[T]` float32.
        next_observations: `[T, O]` float32.
        terminated: `[T]` bool.
        returns_to_go: `[T]` float32, of preprocessed rewards (Cal-QL); −inf: not known. `None` without it.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    next_observations: Tensor
    terminated: Tensor
    returns_to_go: Tensor | None = None

    @classmethod
    def of(cls, buffer: TensorDictReplayBuffer) -> Self:
        """All rows of a replay buffer, without a copy where its storage is memory-mapped.

        `returns_to_go` is there if the rows have it beside `observation`.
        """
        rows = buffer.storage[: len(buffer)]

        def column(*key: str) -> Tensor:
            # A plain view of the mapped pages: the tensor subclass costs microseconds at every operation.
            mapped: Tensor = rows.get(key)
            return mapped.as_subclass(Tensor)

        has_returns = rows.get("returns_to_go", None) is not None
        return cls(
            observations=column("observation"),
            actions=column("action"),
            rewards=column("next", "reward").flatten(),
            next_observations=column("next", "observation"),
            terminated=column("next", "terminated").flatten(),
            returns_to_go=column("returns_to_go").flatten() if has_returns else None,
        )

    def present(self) -> list[Tensor]:
        """The columns that there are, in the order of the fields."""
        return [column for column in vars(self).values() if column is not None]

    def to(self, device: torch.device) -> "Columns":
        """The columns on `device`; nothing is copied where they are there already."""
        return Columns(*(column.to(device) for column in self.present()))

    def fits(self, device: torch.device) -> bool:
        """Whether `device` has room for the columns, with as much left over for training."""
        return fits(self.present(), device)


def fits(tensors: Iterable[Tensor], device: torch.device) -> bool:
    """Whether `device` has room for copies of `tensors`, with as much left over for training."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return bool(2 * sum(tensor.nbytes for tensor in tensors) < free)
