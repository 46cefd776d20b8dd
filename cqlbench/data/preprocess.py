"""Named transforms of observations and rewards, chosen by configuration only."""

from dataclasses import dataclass
from typing import Self, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray

from cqlbench.core.errors import DatasetError
from cqlbench.data.buffer import Dataset

Rewards = TypeVar("Rewards", bound=torch.Tensor | NDArray[np.float32])

_EPSILON = 1e-3
_EPISODE_LIMIT = 1000


@dataclass(frozen=True)
class ObservationNormalizer:
    """`(observation − mean) / std`, in float32.

    Attributes:
        mean: `[O]` float32.
        std: `[O]` float32, the divisor as it is used.
    """

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @classmethod
    def identity(cls, observation_size: int) -> Self:
        """Changes nothing, bit by bit."""
        return cls(np.zeros(observation_size, np.float32), np.ones(observation_size, np.float32))

    @classmethod
    def from_statistics(cls, mean: NDArray[np.floating], std: NDArray[np.floating]) -> Self:
        """This mean, and this standard deviation + 0.001, `[O]` each (CORL `compute_mean_std`)."""
        return cls(mean.astype(np.float32), (std + _EPSILON).astype(np.float32))


@dataclass(frozen=True)
class RewardTransform:
    """`reward · scale + bias`."""

    scale: float = 1.0
    bias: float = 0.0

    @classmethod
    def from_dataset(cls, dataset: Dataset, normalize: bool) -> Self:
        """With `normalize`: rewards · 1000 / (highest − lowest episode return) (CORL `modify_reward`).

        CORL finds episodes by counting rows up to the time limit; here they are the real, whole ones.

        Raises:
            DatasetError: every episode has the same return, so there is no range to divide by.
        """
        if not normalize:
            return cls()
        lowest, *_, highest = dataset.returns.quantiles
        spread = highest - lowest
        if spread <= 0:
            raise DatasetError(
                f"The rewards of '{dataset.id}' cannot be normalised: all of its episodes return "
                f"{lowest:g}; set normalize_rewards=false."
            )
        return cls(scale=_EPISODE_LIMIT / spread)

    def then(self, scale: float, bias: float) -> Self:
        """This transform, and after it `· scale + bias`."""
        return type(self)(self.scale * scale, self.bias * scale + bias)

    def __call__(self, rewards: Rewards) -> Rewards:
        """Transform float32 rewards of any shape."""
        return cast("Rewards", rewards * self.scale + self.bias)
