"""Sums of a seed batch's diagnostics, on the device that computes them."""

import enum
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

FIRST_STEPS = 10
"""Gradient steps whose diagnostics are kept one by one: enough to see where two computations part."""


class Reader(enum.IntEnum):
    """Who drains the diagnostics: each has sums of its own, since each drains at other steps."""

    EVALUATION = 0
    LOG = 1


class Diagnostics:
    """What the gradient steps reported, summed for each reader.

    Attributes:
        steps: how many steps are in each reader's sums.
        sums: `[readers, diagnostics, S]`; `None` before the first step. A CUDA graph adds to them where they
            lie.
        first: of each of the first steps, on the device: names, and values `[diagnostics, S]`.
    """

    def __init__(self) -> None:
        self.steps = [0] * len(Reader)
        self.sums: Tensor | None = None
        self.first: list[tuple[tuple[str, ...], Tensor]] = []
        self._latest = torch.empty(0)
        self._names: tuple[str, ...] = ()

    def add(self, diagnostics: Mapping[str, Tensor], step: int) -> None:
        """Add those of `step` (counted from 0), `[S]` each.

        One that the step did not compute counts as it was last; one that is new, as if it had always been so.
        """
        if tuple(diagnostics) != self._names:
            diagnostics = {**dict(zip(self._names, self._latest, strict=True)), **diagnostics}
        values = torch.stack(list(diagnostics.values()))
        if self.sums is None:
            self._names, self._latest = tuple(diagnostics), values.clone()
            self.sums = values.expand(len(Reader), *values.shape).clone()
        elif len(diagnostics) > len(self._names):
            past = [steps * values[len(self._names) :] for steps in self.steps]
            self.sums = torch.cat([self.sums, torch.stack(past)], dim=1) + values
            self._names, self._latest = tuple(diagnostics), values.clone()
        else:
            self.sums += values
            self._latest.copy_(values)
        if step == len(self.first) < FIRST_STEPS:
            self.first.append((self._names, values))
        self.count(1)

    def first_steps(self) -> list[dict[str, list[float]]]:
        """Those of each of the first steps, one number per seed. Synchronises."""
        return [dict(zip(names, values.tolist(), strict=True)) for names, values in self.first]

    def count(self, steps: int) -> None:
        """Count `steps` whose diagnostics are in the sums."""
        self.steps = [before + steps for before in self.steps]

    def latest(self) -> dict[str, Tensor]:
        """The last step's, `[S]` each, on the device."""
        return dict(zip(self._names, self._latest.clone(), strict=True))

    def drain(self, reader: Reader) -> dict[str, list[float]]:
        """Each diagnostic's mean since `reader`'s last call, one number per seed. Synchronises."""
        if self.sums is None or not self.steps[reader]:
            return {}
        means = (self.sums[reader] / self.steps[reader]).tolist()
        self.sums[reader].zero_()
        self.steps[reader] = 0
        return dict(zip(self._names, means, strict=True))

    def tensors(self) -> list[Tensor]:
        """What a step changes in place."""
        return [] if self.sums is None else [self.sums, self._latest]

    def state_dict(self) -> dict[str, Any]:
        """The sums and what they are of, sharing memory with them."""
        tensors = {} if self.sums is None else {"sums": self.sums, "latest": self._latest}
        first = [{"names": list(names), "values": values} for names, values in self.first]
        return {"steps": list(self.steps), "names": list(self._names), "first": first, **tensors}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Resume from `state`, in new memory."""
        self.sums, self._latest = None, torch.empty(0)
        if "sums" in state:
            self.sums, self._latest = (state[name].to(device, copy=True) for name in ("sums", "latest"))
        self._names, self.steps = tuple(state["names"]), list(state["steps"])
        first = state.get("first", ())  # checkpoints from before it was kept have none
        self.first = [(tuple(each["names"]), each["values"].to(device)) for each in first]
