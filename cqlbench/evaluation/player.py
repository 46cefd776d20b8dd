"""Play by policies that look back: decision transformers, from the return that is asked for."""

from collections.abc import Callable

import torch
from torch import Tensor

from cqlbench.algorithms.algorithm import History

ActAfter = Callable[[History], Tensor]
"""A history of raw observations and returns, `[S, E, L, …]`, -> actions `[S, E, A]`."""


class Player:
    """Acts in episodes that begin together, remembering the last `context` time steps.

    `asked` is the undiscounted return that is asked for; rewards are taken off it.
    """

    def __init__(self, act_after: ActAfter, context: int, asked: float, action_size: int) -> None:
        self._act_after, self._context, self._action_size = act_after, context, action_size
        self._asked = torch.tensor(asked)
        self._step = 0
        self._past: tuple[Tensor, ...] = ()

    def act(self, observations: Tensor) -> Tensor:
        """Raw observations `[S, E, O]` -> `[S, E, A]`."""
        shape = observations.shape[:2]
        now = (
            observations.float(),
            torch.zeros(*shape, self._action_size),
            self._asked.float().expand(shape),
            torch.full(shape, self._step),
        )
        parts = [part.unsqueeze(2) for part in now]
        if self._past:
            pairs = zip(self._past, parts, strict=True)
            parts = [torch.cat(pair, 2)[:, :, -self._context :] for pair in pairs]
        actions = self._act_after(History(*parts)).cpu()
        parts[1][:, :, -1] = actions
        self._past = tuple(parts)
        return actions

    def rewarded(self, rewards: Tensor) -> None:
        """Take note of what the last actions brought, raw rewards `[S, E]`."""
        self._asked = self._asked - rewards
        self._step += 1
