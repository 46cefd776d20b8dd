"""The final policy of each seed, kept beside its record: `seed-<n>.json` -> `seed-<n>.npz`.

An npz file of float32 arrays and one text::

    0.weight [in, out]   0.bias [out]         ReLU follows every layer but the last
    observation_mean [O]   observation_scale [O]   the first layer gets (observation − mean) · scale
    action_low [A]       action_high [A]      the action box, where there is one
    notes                                     JSON: the run, its dataset, config, environment, and `head`

The head says what becomes of the outputs, `[A]`. `tanh`: the box's centre + half its width · tanh(outputs);
`clip`: the same of the outputs bounded to [-1, 1]; `argmax`: there is no box, and the network is an ensemble
with weights `[K, in, out]`, biases `[K, out]` and outputs `[K, A]`: the one-hot action of the largest mean.
`sequence`: the arrays are a decision transformer's (`networks/transformer.py`), followed by `tanh`;
the notes hold its `context` and `heads`, the `asked_return`, and the `return_scale` of its inputs.
Policies without a head are older: `argmax` where there is no box, else `tanh` of the first A of 2A outputs.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cqlbench.core import atomic
from cqlbench.records.schema import RecordError

_BOX = ("action_low", "action_high")


@dataclass(frozen=True, eq=False)
class SavedPolicy:
    """A deterministic policy on raw observations.

    Attributes:
        arrays: float32, named as in the module's format.
        notes: `run`, `seed`, `step`, `dataset`, `config`, `environment` (`id`, `max_episode_steps`, `kwargs`;
            or `None`), `score_min`, `score_max`, `head`, and those of the head.
    """

    arrays: Mapping[str, NDArray[np.float32]]
    notes: Mapping[str, Any]

    @property
    def discrete(self) -> bool:
        """Whether its actions are one-hot vectors."""
        return not set(_BOX) & set(self.arrays)

    @property
    def head(self) -> str:
        """What follows the last layer: `tanh`, `clip` or `argmax`; or `sequence`."""
        return str(self.notes.get("head", "argmax" if self.discrete else "tanh"))

    @property
    def action_size(self) -> int:
        """`A`."""
        if self.head == "sequence":
            return len(self.arrays["action_low"])
        outputs = int(self.layers[-1][0].shape[-1])
        return outputs if self.discrete or "head" in self.notes else outputs // 2

    @property
    def layers(self) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Weight `[(K,) in, out]` and bias `[(K,) out]` of each layer."""
        depth = sum(name.endswith(".weight") for name in self.arrays)
        return [(self.arrays[f"{layer}.weight"], self.arrays[f"{layer}.bias"]) for layer in range(depth)]

    @property
    def observation_size(self) -> int:
        """`O`."""
        return len(self.arrays["observation_mean"])

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            RecordError: it cannot be written.
        """
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **self.arrays, notes=np.array(json.dumps(dict(self.notes))))
        try:
            atomic.replace(path, buffer.getvalue())
        except OSError as error:
            raise RecordError(f"Policy '{path}' cannot be written ({error.strerror or error}).") from error

    @classmethod
    def load(cls, path: Path) -> "SavedPolicy":
        """Read a policy.

        Raises:
            RecordError: the file cannot be read, or is no policy.
        """
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                arrays = dict(file)
            policy = cls(arrays, json.loads(str(arrays.pop("notes"))))
            box = [arrays[name] for name in _BOX if not policy.discrete]
            first = arrays["observe.weight"] if policy.head == "sequence" else policy.layers[0][0]
            sizes = {first.shape[-2], len(arrays["observation_scale"])}
            if sizes != {policy.observation_size} or any(len(each) != policy.action_size for each in box):
                raise ValueError("its arrays do not fit together")  # noqa: TRY301
        except OSError as error:
            raise RecordError(f"Policy '{path}' cannot be read ({error.strerror or error}).") from error
        except (EOFError, IndexError, KeyError, ValueError, zipfile.BadZipFile) as error:
            # numpy takes what is no archive for a pickle, and advises to trust it.
            reason = "it is damaged" if "pickle" in str(error) else error
            raise RecordError(f"'{path}' is no policy of a run: {reason}.") from error
        return policy
