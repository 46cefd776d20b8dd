"""Named transforms of observations and rewards, chosen by configuration only."""

from dataclasses import dataclass
from typing import Self, overload

import numpy as np
import torch
from numpy.typing import NDArray

from cqlbench.core.errors import DatasetError
from cqlbench.data.buffer import Dataset

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
    def from_dataset(cls, dataset: Dataset, epsilon: float = 1e-3) -> Self:
        """The dataset's mean, and its standard deviation + `epsilon` (CORL `compute_mean_std`)."""
        return cls.from_statistics(dataset.observation_mean, dataset.observation_std, epsilon)

    @classmethod
    def from_statistics(
        cls, mean: NDArray[np.floating], std: NDArray[np.floating], epsilon: float = 1e-3
    ) -> Self:
        """This mean, and this standard deviation + `epsilon`, `[O]` each."""
        return cls(mean.astype(np.float32), (std + epsilon).astype(np.float32))

    @overload
    def __call__(self, observations: torch.Tensor) -> torch.Tensor: ...
    @overload
    def __call__(self, observations: NDArray[np.floating]) -> NDArray[np.float32]: ...
    def __call__(
        self, observations: torch.Tensor | NDArray[np.floating]
    ) -> torch.Tensor | NDArray[np.float32]:
        """Normalise `[…, O]`; the result is float32, on the tensor's device."""
        if isinstance(observations, torch.Tensor):
            mean, std = (
                torch.as_tensor(value, device=observations.device) for value in (self.mean, self.std)
            )
            return (observations.to(torch.float32) - mean) / std
        return (np.asarray(observations, np.float32) - self.mean) / self.std


@dataclass(frozen=True)
class RewardTransform:
    """`reward · scale + bias`.

    Attributes:
        scale: the factor.
        bias: added after.
    """

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
        spread = dataset.returns.highest - dataset.returns.lowest
        if spread <= 0:
            raise DatasetError(
                f"The rewards of '{dataset.id}' cannot be normalised: all of its episodes return "
                f"{dataset.returns.lowest:g}; set normalize_rewards=false."
            )
        return cls(scale=_EPISODE_LIMIT / spread)

    def then(self, scale: float, bias: float) -> Self:
        """This transform, and after it `· scale + bias`."""
        return type(self)(self.scale * scale, self.bias * scale + bias)

    @overload
    def __call__(self, rewards: torch.Tensor) -> torch.Tensor: ...
    @overload
    def __call__(self, rewards: NDArray[np.floating]) -> NDArray[np.float32]: ...
    def __call__(self, rewards: torch.Tensor | NDArray[np.floating]) -> torch.Tensor | NDArray[np.float32]:
        """Transform rewards of any shape; the result is float32."""
        if isinstance(rewards, torch.Tensor):
            return rewards.to(torch.float32) * self.scale + self.bias
        return np.asarray(rewards, np.float32) * np.float32(self.scale) + np.float32(self.bias)
