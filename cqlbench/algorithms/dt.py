"""Decision transformer (Chen et al. 2021, arXiv:2106.01345): actions from the return that is asked for.

Shape letters: S seeds, B sequences, L time steps, O observation, A action.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cqlbench.algorithms.algorithm import (
    AlgorithmConfig,
    Batch,
    Column,
    Draw,
    History,
    Networks,
    Noise,
    PolicyNetwork,
    Rows,
    Stage,
    at_least,
    fractions,
    warmed_up,
)
from cqlbench.algorithms.networks import Params
from cqlbench.algorithms.networks.transformer import Drop, drop_sites, init_transformer, transformer
from cqlbench.algorithms.policies import BoxActions


@dataclass
class DTConfig(AlgorithmConfig):
    """One decision transformer, with CORL's values for gym-mujoco (corl-team/CORL@eeeeef2, `dt.py`).

    Attributes:
        embedding_size: D, of tokens.
        blocks: number of attention blocks (CORL `num_layers`).
        heads: attention heads of each block (CORL `num_heads`).
        context: L, time steps that an action looks back on, its own included (CORL `seq_len`).
        episode_length: time steps that are told apart (CORL `episode_len`); later ones count as the last.
        attention_dropout: share of attention weights that training leaves out.
        residual_dropout: share of each block's two outputs that training leaves out.
        embedding_dropout: share of the tokens' entries that training leaves out.
        learning_rate: AdamW's rate, after its warm-up.
        warmup_steps: gradient steps in which the rate rises linearly from 0.
        weight_decay: AdamW's, of all parameters.
        target_return: the undiscounted return that is asked for in evaluation (the first of CORL's
            `target_returns`); `None`: that of the dataset's best episode.
    """

    FIXED = AlgorithmConfig.FIXED | {"embedding_size", "blocks", "heads", "context", "episode_length"}

    name: str = "dt"
    batch_size: int = 4096
    max_gradient_norm: float | None = 0.25
    reward_scale: float = 0.001
    embedding_size: int = 128
    blocks: int = 3
    heads: int = 1
    context: int = 20
    episode_length: int = 1000
    attention_dropout: float = 0.1
    residual_dropout: float = 0.1
    embedding_dropout: float = 0.1
    learning_rate: float = 8e-4
    warmup_steps: int = 10_000
    weight_decay: float = 1e-4
    target_return: float | None = None

    def problems(self) -> Iterator[str]:
        """See `AlgorithmConfig.problems`."""
        yield from super().problems()
        sizes = "embedding_size", "blocks", "heads", "context", "episode_length", "warmup_steps"
        yield from at_least(self, 1, *sizes)
        yield from at_least(self, 0, "weight_decay")
        shares = "attention_dropout", "residual_dropout", "embedding_dropout"
        yield from fractions(self, *shares)
        yield from (f"{key}=1 leaves nothing." for key in shares if getattr(self, key) == 1)
        if self.heads > 0 and self.embedding_size % self.heads:
            yield f"embedding_size={self.embedding_size} must be a multiple of heads={self.heads}."
        if self.normalize_rewards or self.reward_bias:
            yield "normalize_rewards and reward_bias must be left out: a return is asked for in raw rewards."


class DT(BoxActions[DTConfig]):
    """The action at each time step of a sequence, regressed: E ‖π(…, r, s) − a‖²."""

    online = False

    @property
    def context(self) -> int:
        """See `Algorithm.context`."""
        return self.config.context

    def init(self, generators: Sequence[torch.Generator]) -> tuple[dict[str, Params], tuple[str, ...]]:
        """See `Algorithm.init`."""
        sizes = self.spaces.observation_size, self.spaces.actions.size, self.config.embedding_size
        # CORL's table is longer by the context, which its padding uses.
        steps = self.config.episode_length + self.context
        return {"actor": init_transformer(sizes, self.config.blocks, steps, generators)}, ()

    def draws(self) -> dict[str, Draw]:
        """A number for each place of dropout, from which its mask follows."""
        return {"dropout": Draw("uniform", (len(drop_sites(self.config.blocks)),))}

    def stages(self) -> tuple[Stage, ...]:
        """One loss."""
        rate = warmed_up(self.config.learning_rate, self.config.warmup_steps)
        return (Stage(self._loss, {"actor": rate}, weight_decay=self.config.weight_decay),)

    def columns(self) -> dict[str, Column]:
        """Undiscounted returns-to-go, time steps, and rows up to the episode's end."""
        return {"returns_to_go": _returns_to_go, "steps": _steps, "left": _left}

    def act_after(self, parameters: Mapping[str, Params], history: History) -> Tensor:
        """See `Algorithm.act_after`."""
        return self._actions(parameters["actor"], history)[:, :, -1]

    def act(self, parameters: Mapping[str, Params], observations: Tensor) -> Tensor:
        """An episode's first action; where no return is stated, none is asked for."""
        S, R, _ = observations.shape
        first = observations.new_zeros(S, R, 1)
        wanted = self.config.reward_scale * (self.config.target_return or 0.0)
        history = History(
            observations.unsqueeze(2),
            observations.new_zeros(S, R, 1, self.spaces.actions.size),
            first + wanted,
            first.long(),
        )
        return self.act_after(parameters, history)

    def asked_return(self, columns: Mapping[str, Tensor]) -> float:
        """See `Algorithm.asked_return`."""
        if self.config.target_return is not None:
            return self.config.target_return * self.config.reward_scale
        return float(columns["returns_to_go"][columns["steps"] == 0].max())

    def policy(self, parameters: Mapping[str, Params]) -> PolicyNetwork:
        """The whole network."""
        facts = {"context": self.context, "heads": self.config.heads}
        return PolicyNetwork(parameters["actor"], "sequence", facts)

    def activations(self) -> int:
        """The tokens' in every block, and the attention's weights."""
        config = self.config
        tokens = 3 * config.context
        each = tokens * (20 * config.embedding_size + 3 * config.heads * tokens)
        return config.batch_size * config.blocks * each

    def _actions(self, actor: Params, history: History, drop: Drop = lambda _, each: each) -> Tensor:
        steps = history.steps.clamp(max=self.config.episode_length + self.context - 1)
        told = transformer(
            actor,
            history.observations,
            history.actions,
            history.returns,
            steps,
            heads=self.config.heads,
            drop=drop,
        )
        return self.box.from_unit(told.tanh())

    def _loss(self, networks: Networks, batch: Batch, noise: Noise) -> tuple[Tensor, dict[str, Tensor]]:
        extra, context = batch.extra, self.context
        history = History(batch.observations, batch.actions, extra["returns_to_go"], extra["steps"].long())
        config = self.config
        shares = {"tokens": config.embedding_dropout, "weights": config.attention_dropout}
        keys = dict(zip(drop_sites(config.blocks), noise["dropout"].unbind(-1), strict=True))

        def drop(site: str, activations: Tensor) -> Tensor:
            share = shares.get(site.rpartition(".")[2], config.residual_dropout)
            return activations * kept(keys[site], activations.shape, share) if share else activations

        # What stands behind an episode's end is of another one. No token looks at what comes after it.
        within = torch.arange(context, device=history.steps.device) <= extra["left"][..., :1]  # [S, B, L]
        squares = (self._actions(networks.parameters["actor"], history, drop) - batch.actions).square()
        loss = (squares * within.unsqueeze(-1)).mean((1, 2, 3))  # over padding too, as in CORL
        return loss, {"actor_loss": loss.detach()}


def kept(keys: Tensor, shape: Sequence[int], share: float) -> Tensor:
    """Dropout's factors: 0 for `share` of them, and 1 / (1 − share).

    Drawing them ahead would take more memory than all activations. They are a hash of their place and of the
    seed's key: the finaliser `lowbias32` of integer hashing, in 64 bits.

    Args:
        keys: `[S]`, uniform on [−1, 1).
        shape: `[S, …]`.
        share: of zeros, below 1.
    """
    mask = 0xFFFFFFFF
    places = torch.arange(math.prod(shape[1:]), device=keys.device)
    bits = ((keys.double() + 1) * 2**31).long().unsqueeze(1) * 0x9E3779B1 + places
    bits = bits & mask
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        bits = ((bits ^ (bits >> shift)) * factor) & mask
    bits = bits ^ (bits >> 16)
    return ((bits >= int(share * 2**32)).to(keys.dtype) / (1 - share)).view(*shape)


def _left(rows: Rows) -> NDArray[np.float32]:
    """Rows that follow in the same episode."""
    places, ends = np.arange(len(rows.lasts)), np.flatnonzero(rows.lasts)
    left: NDArray[np.float32] = (ends[np.searchsorted(ends, places)] - places).astype(np.float32)
    return left


def _steps(rows: Rows) -> NDArray[np.float32]:
    """Rows that stand before in the same episode."""
    places, begins = np.arange(len(rows.lasts)), np.flatnonzero(np.append(True, rows.lasts[:-1]))
    before: NDArray[np.float32] = (places - begins[np.searchsorted(begins, places, side="right") - 1]).astype(
        np.float32
    )
    return before


def _returns_to_go(rows: Rows) -> NDArray[np.float32]:
    """The sum of rewards from here to the episode's last row."""
    places, sums = np.arange(len(rows.rewards)), np.append(0.0, np.cumsum(rows.rewards, dtype=np.float64))
    to_go: NDArray[np.float64] = sums[places + _left(rows).astype(np.int64) + 1] - sums[places]
    return to_go.astype(np.float32)
