"""Fitted Q evaluation (Le et al. 2019, arXiv:1903.08738) of many policies at once, from a dataset alone.

y = r + γ · (1 − terminated) · Q̄(s′, π(s′)), clipped to what a return can be; a policy's value is the mean of
Q(s₀, π(s₀)) over the states that episodes were reset to. Candidates take the place of seeds: all policies'
critics are one batch of networks, start alike and see the same rows, so that little but the policies differs.

Shape letters: S candidates, B batch, O observation, A action, T dataset length.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cqlbench.algorithms.algorithm import (
    Algorithm,
    AlgorithmConfig,
    Batch,
    Networks,
    Noise,
    Spaces,
    Stage,
    cosine,
)
from cqlbench.algorithms.networks import ActionBox, ActionSpace, Init, Params, action_values, init_critics
from cqlbench.algorithms.step import TrainState, initial_state, make_update
from cqlbench.engine.cuda_graph import capture
from cqlbench.engine.dataset_tensors import Columns
from cqlbench.engine.streams import CHUNK, IndexStream

Act = Callable[[Tensor], Tensor]
"""Raw observations, `[R, O]` or each candidate's own `[S, R, O]`, -> actions `[S, R, A]`."""

_ROWS = 8_192
"""Rows that are looked at at once."""
_MOST_KEPT = 1 << 28
"""Numbers of actions that are kept (1 GiB)."""


@dataclass
class FQEConfig(AlgorithmConfig):
    """How policies are evaluated. The defaults were chosen on one embedded dataset (results/README.md).

    Attributes:
        hidden: hidden layer sizes of the critics.
        learning_rate: Adam's first rate, which falls to 0 as half a cosine.
        steps: gradient steps.
        seed: of the critics' first weights and of the batches.
    """

    name: str = "fqe"
    hidden: list[int] = field(default_factory=lambda: [64, 64])
    learning_rate: float = 1e-3
    polyak_rate: float = 0.05
    batch_size: int = 128
    steps: int = 5_000
    seed: int = 0


def return_range(rewards: Tensor, discount: float, limit: int | None = None) -> tuple[float, float]:
    """The least and the greatest discounted return that such rewards, `[T]`, can add up to; 0 is among them.

    Without a `limit` on the steps of an episode, γ is below 1.
    """
    if discount < 1:
        most = (1 - discount ** (limit or float("inf"))) / (1 - discount)
    else:
        most = float("inf") if limit is None else float(limit)
    low, high = min(0.0, float(rewards.min())), max(0.0, float(rewards.max()))
    return low * most if low else 0.0, high * most if high else 0.0


class _FQE(Algorithm[FQEConfig]):
    """One critic of each candidate, on raw observations and rewards."""

    def __init__(
        self, config: FQEConfig, spaces: Spaces, act: Act, data: Columns, bounds: tuple[float, float]
    ) -> None:
        super().__init__(config, spaces)
        self._act, self._scale = act, max(map(abs, bounds)) or 1.0
        self._low, self._high = (bound / self._scale for bound in bounds)
        # Where values begin does not matter in the end, but targets that follow slowly are long on the way.
        ends = data.terminated.float().mean()
        self._guess = float(data.rewards.mean() / (1 - config.discount * (1 - ends)).clamp(min=1e-3))
        self._mean = data.observations.mean(0)
        self._inverse_std = 1 / (data.observations.std(0) + 1e-3)

    def init(self, generators: Sequence[torch.Generator]) -> tuple[dict[str, Params], tuple[str, ...]]:
        """See `Algorithm.init`."""
        O, actions = self.spaces  # noqa: E741
        critic = init_critics(O, actions.size, self.config.hidden, 1, generators, Init())
        critic[f"{len(self.config.hidden)}.bias"] += self._guess / self._scale
        return {"critic": critic}, ("critic",)

    def stages(self) -> tuple[Stage, ...]:
        """See `Algorithm.stages`."""
        rate = cosine(self.config.learning_rate, self.config.steps)
        return (Stage(self._loss, {"critic": rate}, targets=("critic",)),)

    def values(self, critic: Params, observations: Tensor, actions: Tensor) -> Tensor:
        """Q in units of the largest return, `[S, R]`, at observations `[R, O]` and actions `[S, R, A]`."""
        S, R, _ = actions.shape
        states = ((observations - self._mean) * self._inverse_std).expand(S, R, -1)
        box = self.spaces.actions
        unit = box.to_unit(actions) if isinstance(box, ActionBox) else actions
        return action_values(critic, states, unit).squeeze(1)

    @torch.no_grad()
    def start_values(self, critic: Params, starts: Tensor) -> Tensor:
        """Mean value of the candidates' own actions at `starts` `[R, O]`, in rewards, `[S]`."""
        parts = [
            self.values(critic, rows, self._act(rows))
            for rows in starts.tensor_split(-(-len(starts) // _ROWS))
        ]
        return torch.cat(parts, 1).clamp(self._low, self._high).mean(1) * self._scale

    def _loss(self, networks: Networks, batch: Batch, noise: Noise) -> tuple[Tensor, dict[str, Tensor]]:
        del noise
        with torch.no_grad():
            following = self.values(
                networks.targets["critic"], batch.next_observations, batch.extra["next_actions"]
            )
            rewards = batch.rewards / self._scale
            targets = rewards + self.config.discount * (1 - batch.terminated) * following
            targets = targets.clamp(self._low, self._high)  # [S, B]
        actions = batch.actions.expand(len(targets), -1, -1)
        found = self.values(networks.parameters["critic"], batch.observations, actions)
        loss = (found - targets).square().mean(1)
        return loss, {}


def fitted_q_evaluation(
    data: Columns,
    starts: Tensor,
    act: Act,
    actions: ActionSpace,
    config: FQEConfig,
    limit: int | None = None,
    done: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """The discounted value of every candidate, in the dataset's rewards, `[S]`.

    Raw rows, on the device that computes, as everything else; `starts` `[R, O]` are states that episodes were
    reset to; `limit` is how many steps an episode has at most, if known; `done` is told the steps done.
    """
    device, S = data.rewards.device, len(act(starts[:1]))
    bounds = return_range(data.rewards, config.discount, limit)
    fqe = _FQE(config, Spaces(data.observations.shape[1], actions), act, data, bounds)
    state = initial_state(fqe, [config.seed] * S).to(device)
    update = make_update(fqe)
    indices = IndexStream([config.seed], config.batch_size, len(data.rewards), device)
    following = _following_actions(data, act, S, config)

    def take(step: int) -> None:
        rows = indices(step)[0]
        batch = Batch(
            observations=data.observations[rows],
            actions=data.actions[rows],
            rewards=data.rewards[rows],
            next_observations=data.next_observations[rows],
            terminated=data.terminated[rows].float(),
            extra={"next_actions": following(rows)},
        )
        update(state, batch, {}, step)

    for step in _steps(take, config.steps, indices, state):
        done(step)
    return fqe.start_values(state.targets["critic"], starts)


def _steps(take: Callable[[int], None], steps: int, indices: IndexStream, state: TrainState) -> Iterator[int]:
    """Take the steps, on CUDA most of them as replays of one graph; yields how many are done."""
    device, graph = state.steps.device, None

    def first() -> None:
        for step in range(CHUNK):
            take(step)

    for start in range(0, steps, CHUNK):
        stop = min(start + CHUNK, steps)
        if graph is not None and stop == start + CHUNK:
            indices.prepare(start)
            graph.replay()
        else:
            for step in range(start, stop):
                take(step)
        if device.type == "cuda" and stop == CHUNK:
            graph = capture(first, state.tensors(), device)
        yield stop


@torch.no_grad()
def _following_actions(data: Columns, act: Act, S: int, config: FQEConfig) -> Callable[[Tensor], Tensor]:
    """Every candidate's actions after rows: computed once, where most rows are seen more than once."""
    T, A = data.actions.shape
    if config.steps * config.batch_size < T * 2 or S * T * A > _MOST_KEPT:
        return lambda rows: act(data.next_observations[rows])
    kept = data.actions.new_empty(S, T, A)
    for start in range(0, T, _ROWS):
        kept[:, start : start + _ROWS] = act(data.next_observations[start : start + _ROWS])
    return lambda rows: kept[:, rows]


@torch.no_grad()
def cloning_distance(data: Columns, act: Act, actions: ActionSpace) -> Tensor:
    """Mean squared distance of every candidate's actions from the dataset's, in half widths, `[S]`."""
    every = torch.linspace(0, len(data.rewards) - 1, min(len(data.rewards), _ROWS)).long()
    rows = every.to(data.rewards.device)
    chosen, taken = act(data.observations[rows]), data.actions[rows]
    if isinstance(actions, ActionBox):
        chosen, taken = actions.to_unit(chosen), actions.to_unit(taken)
    return (chosen - taken).square().mean((1, 2))
