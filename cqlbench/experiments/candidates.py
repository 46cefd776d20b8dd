"""Saved policies of one dataset as one batch of networks, whatever their sizes."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import block_diag
from torch import Tensor
from torch.nn import functional

from cqlbench.algorithms.networks import mlp
from cqlbench.evaluation.fqe import Act
from cqlbench.records.policy import SavedPolicy

_Layers = list[tuple[NDArray[np.float32], NDArray[np.float32]]]


def stacked(policies: Sequence[SavedPolicy], device: torch.device) -> Act:
    """All policies' actions: see `cqlbench.evaluation.fqe.Act`.

    Smaller networks are filled up with units and layers that change nothing: a unit whose weights are 0, and
    the identity, which keeps what a ReLU gave.

    Args:
        policies: of one dataset; none that looks back (`head` is not `sequence`).
        device: where they act.
    """
    layers = [_one_network(policy) for policy in policies]
    deepest = max(map(len, layers))
    for each in layers:
        width, missing = len(each[-1][0]), deepest - len(each)
        identity = (np.eye(width, dtype=np.float32), np.zeros(width, np.float32))
        each[-1:-1] = [identity] * missing
    params = {}
    for place in range(deepest):
        weights, biases = zip(*(each[place] for each in layers), strict=True)
        shape = np.max([weight.shape for weight in weights], axis=0)
        params[f"{place}.weight"] = _tensor([_padded(each, shape) for each in weights], device)
        params[f"{place}.bias"] = _tensor([_padded(each[None], (1, shape[1])) for each in biases], device)

    def array(name: str) -> Tensor:
        return _tensor([policy.arrays[name][None] for policy in policies], device)

    mean, scale, discrete = array("observation_mean"), array("observation_scale"), policies[0].discrete
    if not discrete:
        low, high = array("action_low"), array("action_high")
        clips = torch.tensor([policy.head == "clip" for policy in policies], device=device).view(-1, 1, 1)

    def act(observations: Tensor) -> Tensor:
        outputs = mlp(params, (observations - mean) * scale)
        if discrete:
            return functional.one_hot(outputs.argmax(-1), outputs.shape[-1]).to(outputs.dtype)
        unit = torch.where(clips, outputs.clamp(-1, 1), outputs.tanh())
        return (high + low) / 2 + (high - low) / 2 * unit

    return act


def _one_network(policy: SavedPolicy) -> _Layers:
    """Its layers, of an ensemble those of one network that gives the mean."""
    if not policy.discrete:
        *hidden, (weight, bias) = policy.layers
        return [*hidden, (weight[:, : policy.action_size], bias[: policy.action_size])]
    found: _Layers = []
    last, members = len(policy.layers) - 1, len(policy.layers[0][0])
    for place, (weight, bias) in enumerate(policy.layers):
        joined = np.concatenate(weight, axis=1) if place == 0 else block_diag(*weight)
        offset = bias.reshape(-1)
        if place == last:
            joined, offset = (
                joined.reshape(len(joined), members, -1).mean(1),
                offset.reshape(members, -1).mean(0),
            )
        found.append((joined.astype(np.float32), offset.astype(np.float32)))
    return found


def _padded(array: NDArray[np.float32], shape: Sequence[int]) -> NDArray[np.float32]:
    return np.pad(array, [(0, size - own) for size, own in zip(shape, array.shape, strict=True)])


def _tensor(arrays: Sequence[NDArray[np.float32]], device: torch.device) -> Tensor:
    return torch.from_numpy(np.stack(arrays)).to(device)
