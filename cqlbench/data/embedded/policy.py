"""Behaviour policies: small tanh-Gaussian networks in plain numpy, from which datasets are collected again.

A policy is two files. `<name>.npz` holds float32 arrays, in the order of the layers::

    0.weight [in, out]   0.bias [out]        ReLU follows every layer but the last
    1.weight ...         1.bias ...
    n.weight [in, 2A]    n.bias [2A]         the outputs are [mean | log standard deviation]
    action_low [A]       action_high [A]

`<name>.json` beside it says how it was trained and what it scores: `{"recipe": {...}, "evaluation": {...}}`.
"""

import difflib
import io
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cqlbench.core import atomic
from cqlbench.core.errors import DatasetError
from cqlbench.core.paths import policies_dir
from cqlbench.data.readers.arrays import reading
from cqlbench.data.transitions import Floats

LOG_STD_MIN = -20.0
LOG_STD_MAX = 2.0
"""Bounds of the log standard deviation, those of the networks that are trained (rlkit, CORL)."""

# OpenBLAS multiplies 4 x 256 by 256 x 256 without its threads, which would wait for cores that the
# simulator's threads hold: on a busy machine that made the whole product five times slower.
_ROWS_AT_ONCE = 4


@dataclass(frozen=True, eq=False)
class BehaviourPolicy:
    """A tanh-Gaussian policy: `action = centre + half_range · tanh(mean + std · normal)`.

    Actions are computed in float64 and rounded once to float32, so that the last bits of a matrix product,
    which differ between processors, do not reach the actions and from there the episodes.

    Attributes:
        weights: one `[in, out]` float32 array per layer.
        biases: one `[out]` float32 array per layer.
        action_low: `[A]` float32.
        action_high: `[A]` float32.
        recipe: how it was trained.
        evaluation: what it scores.

    Raises:
        ValueError: the arrays do not fit together, or are not finite.
    """

    weights: tuple[Floats, ...]
    biases: tuple[Floats, ...]
    action_low: Floats
    action_high: Floats
    recipe: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if problem := _problem(self.weights, self.biases, self.action_low, self.action_high):
            raise ValueError(f"no behaviour policy: {problem}")

    @property
    def observation_size(self) -> int:
        """`O`."""
        return int(self.weights[0].shape[0])

    @property
    def action_size(self) -> int:
        """`A`."""
        return len(self.action_low)

    @classmethod
    def load(cls, name_or_path: str | Path) -> "BehaviourPolicy":
        """Read a policy: a bare name stands for a shipped one, anything else is the path of its npz file.

        Raises:
            DatasetError: there is no such file, or it is no behaviour policy.
        """
        path = policy_path(name_or_path)
        if not path.is_file():
            if path.parent == policies_dir():
                shipped = sorted(each.stem for each in policies_dir().glob("*.npz"))
                near = difflib.get_close_matches(path.stem, shipped, cutoff=0.4) or shipped
                raise DatasetError(f"Unknown behaviour policy '{path.stem}' (choose from {', '.join(near)}).")
            raise DatasetError(f"There is no behaviour policy at {path}.")
        # From memory: numpy leaves a damaged file open.
        with (
            reading(f"The behaviour policy {path}"),
            np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays,
        ):
            parts, notes_path = dict(arrays), path.with_suffix(".json")
            notes = json.loads(notes_path.read_text("utf-8")) if notes_path.is_file() else {}
            low, high = parts.pop("action_low"), parts.pop("action_high")
            return cls.from_arrays(parts, low, high, notes.get("recipe", {}), notes.get("evaluation", {}))

    @classmethod
    def from_arrays(
        cls,
        layers: Mapping[str, Floats],
        action_low: Floats,
        action_high: Floats,
        recipe: Mapping[str, Any] | None = None,
        evaluation: Mapping[str, Any] | None = None,
    ) -> "BehaviourPolicy":
        """A policy of the arrays `0.weight`, `0.bias`, `1.weight`, … (see the module's format).

        Raises:
            KeyError: a layer's weight or bias is missing.
            ValueError: the arrays do not fit together, or are not finite.
        """
        numbers = range(sum(name.endswith(".weight") for name in layers))
        return cls(
            weights=tuple(layers[f"{number}.weight"] for number in numbers),
            biases=tuple(layers[f"{number}.bias"] for number in numbers),
            action_low=action_low,
            action_high=action_high,
            recipe=recipe or {},
            evaluation=evaluation or {},
        )

    def save(self, path: Path) -> None:
        """Write `path` (an npz file) and the json beside it, each whole or not at all.

        The same policy gives the same bytes: the collected dataset's cache key is made from them.
        """
        arrays: dict[str, Floats] = {}
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            arrays[f"{layer}.weight"], arrays[f"{layer}.bias"] = weight, bias
        buffer = io.BytesIO()
        np.savez(
            buffer, allow_pickle=False, **arrays, action_low=self.action_low, action_high=self.action_high
        )
        notes = {"recipe": dict(self.recipe), "evaluation": dict(self.evaluation)}
        atomic.replace(path.with_suffix(".json"), (json.dumps(notes, indent=2) + "\n").encode())
        atomic.replace(path.with_suffix(".npz"), buffer.getvalue())

    def sample(
        self,
        observations: NDArray[np.float64],
        normals: NDArray[np.float64],
        starting: NDArray[np.bool_] | None = None,
    ) -> Floats:
        """Stochastic actions, `[n, A]`, inside the action box, by standard normal numbers, `[n, A]`.

        Where episodes are `starting` makes no difference to a network without memory.
        """
        del starting
        mean, log_std = self._distribution(observations)
        return self._squash(mean + np.exp(np.clip(log_std, LOG_STD_MIN, LOG_STD_MAX)) * normals)

    def mean_action(self, observations: NDArray[np.float64]) -> Floats:
        """The deterministic action at the squashed mean, `[n, A]`, for `[n, O]` observations."""
        return self._squash(self._distribution(observations)[0])

    @cached_property
    def _layers(self) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        pairs = zip(self.weights, self.biases, strict=True)
        return [(weight.astype(np.float64), bias.astype(np.float64)) for weight, bias in pairs]

    def _distribution(
        self, observations: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        rows = len(observations)
        groups = -(-rows // _ROWS_AT_ONCE)
        padded = np.zeros((groups * _ROWS_AT_ONCE, self.observation_size))
        padded[:rows] = observations
        hidden: NDArray[np.float64] = padded.reshape(groups, _ROWS_AT_ONCE, -1)
        for weight, bias in self._layers[:-1]:
            hidden = np.maximum(hidden @ weight + bias, 0.0)
        weight, bias = self._layers[-1]
        output = (hidden @ weight + bias).reshape(groups * _ROWS_AT_ONCE, -1)[:rows]
        return output[:, : self.action_size], output[:, self.action_size :]

    def _squash(self, unbounded: NDArray[np.float64]) -> Floats:
        low, high = self.action_low.astype(np.float64), self.action_high.astype(np.float64)
        actions = (high + low) / 2.0 + (high - low) / 2.0 * np.tanh(unbounded)
        # Rounding to float32 may step over a bound.
        return np.clip(actions.astype(np.float32), self.action_low, self.action_high)


def policy_path(name_or_path: str | Path) -> Path:
    """The npz file of a shipped policy's bare name, or the given path."""
    path = Path(name_or_path)
    if isinstance(name_or_path, str) and path.name == name_or_path and not name_or_path.endswith(".npz"):
        return policies_dir() / f"{name_or_path}.npz"
    return path


def policies_return(names: Sequence[str]) -> tuple[float, int] | None:
    """Mean return of shipped policies, of actions that they sampled, and over how many episodes.

    `None`: one of them was not evaluated, or there are none.
    """
    means, episodes = [], 0
    for name in names:
        try:
            notes = json.loads(policy_path(name).with_suffix(".json").read_text("utf-8"))
            evaluation = notes["evaluation"]["stochastic"]
            means.append(float(evaluation["return_mean"]))
            episodes += int(evaluation["episodes"])
        except (OSError, LookupError, TypeError, ValueError):
            return None
    mean = sum(means) / len(means) if means else math.nan
    return (mean, episodes) if math.isfinite(mean) else None


def _problem(weights: Sequence[Floats], biases: Sequence[Floats], low: Floats, high: Floats) -> str:
    """What is wrong with the arrays; empty if nothing is."""
    arrays = (*weights, *biases, low, high)
    if any(array.dtype != np.float32 or not np.isfinite(array).all() for array in arrays):
        return "its arrays are not all float32 and finite"
    if low.ndim != 1 or low.shape != high.shape or not (low < high).all():
        return f"action_low {low.tolist()} is not below action_high {high.tolist()}"
    sizes = [*(bias.size for bias in biases[:-1]), 2 * len(low)]  # what each layer gives
    shapes = [weight.shape for weight in weights]
    fitting = list(itertools.pairwise([*(shape[0] for shape in shapes[:1]), *sizes]))
    if not shapes or shapes != fitting or [bias.shape for bias in biases] != [(size,) for size in sizes]:
        return (
            f"its weights {shapes} and biases {[bias.shape for bias in biases]} do not fit one another and "
            f"{len(low)} actions"
        )
    return ""
