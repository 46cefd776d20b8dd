"""Action spaces: a box of continuous actions, or a number of discrete ones."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ActionBox:
    """The box of actions: `centre ± half_range`, each `[A]`.

    Attributes:
        log_half_range: `[A]`.
        log_scale: their sum.
        uniform_log_density: a uniform action's log-density, −Σ log(2 · half_range).
    """

    centre: Tensor
    half_range: Tensor
    log_half_range: Tensor
    log_scale: Tensor
    uniform_log_density: Tensor

    @classmethod
    def from_bounds(cls, low: Tensor, high: Tensor) -> "ActionBox":
        """The box between `low` and `high`, each `[A]`."""
        half_range = (high - low) / 2
        logs, uniform = half_range.log(), -(2 * half_range).log().sum()
        return cls((high + low) / 2, half_range, logs, logs.sum(), uniform)

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
        return ActionBox(*(each.to(device) for each in vars(self).values()))

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
