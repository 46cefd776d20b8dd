"""Gradient steps of groups of seeds, which share nothing, as jobs for threads of one core each.

Last digits may depend on which seeds are computed together. So sizes decide which are, and no number of
threads: a run's numbers are the same on any.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from cqlbench.algorithms.algorithm import Batch, Noise
from cqlbench.algorithms.networks.sharing import evenly, share
from cqlbench.algorithms.step import TrainState, Update

Inputs = Callable[[int, slice], tuple[Batch, Noise]]
"""A step's number and a group of seeds -> what the group's step takes."""

_ENOUGH, _LEAST = 100_000_000, 8_000_000
"""What a group has on average at least, in parameters times rows of its seeds: one of many, and one of two. A
further group costs a step 1.5 ms (TD3+BC) to 4 ms (CQL) of Python and dispatch, and `_ENOUGH` computes for 15
ms and more; measured."""


def groups_of(seeds: int, work: int) -> list[slice]:
    """What is computed together: two groups at least, if there is enough to do; the larger ones first.

    `work` is the parameters of a seed times the rows of its batch.
    """
    count = max(1, min(2, seeds * work // _LEAST), seeds * work // _ENOUGH)
    return evenly(seeds, min(seeds, count))


def of_group(group: slice, tensors: Any) -> Any:
    """The part of `tensors`, `[S, …]` each in any nesting, that is the group's."""
    return tree_map(lambda each: each[group], tensors)


class ByGroups:
    """Steps of `update`, which each group of seeds takes as one job of `sharing.share`.

    The more steps a call takes, the less groups wait for each other, and for one that another process keeps
    off its core.
    """

    def __init__(self, update: Update) -> None:
        self._update = update
        self._whole: TrainState | None = None
        self._groups: list[slice] = []
        self._parts: list[TrainState] = []

    def __call__(self, state: TrainState, inputs: Inputs, steps: range, rows: int) -> list[dict[str, Tensor]]:
        """Take `steps` in order; `state` is changed in place.

        Steps are counted from 0; `inputs` is called by several threads; `rows` are of a seed's batch.

        Returns:
            Each step's diagnostics, `[S]` each.
        """
        if state is not self._whole:
            self._divide(state, rows)
        found: list[list[dict[str, Tensor]]] = [[] for _ in self._groups]

        def compute(number: int) -> None:
            part = self._parts[number]
            part.steps.copy_(state.steps)
            for step in steps:
                _, diagnostics = self._update(part, *inputs(step, self._groups[number]), step)
                found[number].append(diagnostics)

        share(compute, len(self._groups), gradients=True)
        state.steps.add_(len(steps))
        return [
            {name: torch.cat([each[name] for each in of_step]) for name in of_step[0]}
            for of_step in zip(*found, strict=True)
        ]

    def _divide(self, state: TrainState, rows: int) -> None:
        parameters = sum(each[0].numel() for each in tree_leaves(state.parameters))
        self._groups = groups_of(len(state.alive), parameters * rows)
        self._parts = [_part(state, group) for group in self._groups]
        self._whole = state


def _part(state: TrainState, group: slice) -> TrainState:
    """The seeds of `group`, in the memory of `state`; with a number of steps of its own."""
    cut = tree_map(lambda each: each[group] if each.dim() else each.clone(), state.state_dict())
    return TrainState(**cut)
