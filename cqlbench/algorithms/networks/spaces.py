"""Action spaces: a box of continuous actions, or a number of discrete ones."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ActionBox:
    """The box of actions: `centre ± half_range`, each `[A]`.

    Attributes:
        log_volume: log of the box's volume, Σ log(2 · half_range): minus a uniform action's log-density.
    """

    centre: Tensor
    half_range: Tensor
    log_volume: Tensor

    @classmethod
    def from_bounds(cls, low: Tensor, high: Tensor) -> "ActionBox":
        """The box between `low` and `high`, each `[A]`."""
        half_range = (high - low) / 2
        return cls((high + low) / 2, half_range, (2 * half_range).log().sum())

    @property
    def size(self) -> int:
        """`A`."""
        return self.centre.numel()

    @property
    def low(self) -> Tensor:
        """The least action, `[A]`."""
        return self.centre - self.half_range

    @property
    def high(self) -> Tensor:
        """The greatest action, `[A]`."""
        return self.centre + self.half_range

    def to(self, device: torch.device) -> "ActionBox":
        """The same box on `device`."""
        return ActionBox(self.centre.to(device), self.half_range.to(device), self.log_volume.to(device))

    def clamp(self, actions: Tensor) -> Tensor:
        """The nearest actions of the box."""
        return actions.clamp(self.low, self.high)

    def to_unit(self, actions: Tensor) -> Tensor:
        """Map the box onto `[-1, 1]`."""
        return (actions - self.centre) / self.half_range

    def from_unit(self, unit: Tensor) -> Tensor:
        """Map `[-1, 1]` onto the box."""
        return torch.addcmul(self.centre, unit, self.half_range)


@dataclass(frozen=True)
class DiscreteActions:
    """`size` actions to choose from. One is a one-hot vector, `[A]`."""

    size: int

    def to(self, device: torch.device) -> "DiscreteActions":
        """Itself: there are no tensors in it."""
        del device
        return self


ActionSpace = ActionBox | DiscreteActions
