"""What an algorithm is: parameters, random numbers, and losses in stages. All else is the same for all.

Shape letters: S seeds, B batch, K critics, O observation, A action, R rows, T dataset length. Every tensor
has a leading S, every loss returns `[S]`, and seeds share no parameter: a seed trains alike in any company.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cqlbench.algorithms.networks import ActionSpace, Params


@dataclass
class AlgorithmConfig:
    """What every algorithm has. A field that is added later is `added(default)`, so that no hash changes.

    Attributes:
        name: the name in tables and record keys.
        discount: γ.
        polyak_rate: τ of the target networks (CORL `tau`).
        batch_size: B, transitions per gradient step.
        max_gradient_norm: clip the gradient norm of each network of each seed to this; `None` clips nothing.
        normalize_observations: subtract the dataset's mean, divide by its standard deviation + 1e-3 (CORL).
        normalize_rewards: divide rewards by the range of episode returns, times 1000 (CORL
            `normalize_reward`).
        reward_scale: then multiply rewards by this,
        reward_bias: and add this (CORL `reward_scale`, `reward_bias`).
    """

    FIXED: ClassVar[frozenset[str]] = frozenset(
        {"name", "batch_size", "normalize_observations", "normalize_rewards", "reward_scale", "reward_bias"}
    )
    """Fields that cannot change between a run's offline and its online steps."""

    name: str = ""
    discount: float = 0.99
    polyak_rate: float = 0.005
    batch_size: int = 256
    max_gradient_norm: float | None = None
    normalize_observations: bool = True
    normalize_rewards: bool = False
    reward_scale: float = 1.0
    reward_bias: float = 0.0

    def problems(self) -> Iterator[str]:
        """What is wrong with the values, one sentence each, that starts with a key."""
        for key, value in vars(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                yield f"{key}={value} must be a finite number."
        if not self.name.strip():
            yield "name is empty; records are filed under it."
        yield from at_least(self, 1, "batch_size")
        yield from at_least(self, 0, *(key for key in vars(self) if key.endswith("learning_rate")))
        yield from layer_sizes(self, *(key for key in vars(self) if key.endswith("hidden")))
        yield from positive(self, "max_gradient_norm", "reward_scale")
        yield from fractions(self, "discount", "polyak_rate")


def added(default: Any) -> Any:
    """A field that came after its class was released: left at its default, it is in no config hash."""
    return field(default=default, metadata={"added": True})


def at_least(config: object, least: float, *keys: str) -> Iterator[str]:
    """A sentence for each of `keys` whose value is below `least`."""
    for key in keys:
        value = getattr(config, key)
        if not value >= least:
            yield f"{key}={value} must be a number of at least {least}."


def positive(config: object, *keys: str) -> Iterator[str]:
    """A sentence for each of `keys` whose value is neither `None` nor above 0."""
    for key in keys:
        value = getattr(config, key)
        if value is not None and not value > 0:
            yield f"{key}={value} must be positive."


def fractions(config: object, *keys: str) -> Iterator[str]:
    """A sentence for each of `keys` whose value is outside [0, 1]."""
    for key in keys:
        value = getattr(config, key)
        if not 0 <= value <= 1:
            yield f"{key}={value} must be between 0 and 1."


def layer_sizes(config: object, *keys: str) -> Iterator[str]:
    """A sentence for each of `keys` that names no hidden layers."""
    for key in keys:
        sizes = getattr(config, key)
        if not sizes or min(sizes) < 1:
            yield f"{key}={sizes} must name at least one layer, each of size 1 or more."


class Spaces(NamedTuple):
    """What a dataset's observations and actions are."""

    observation_size: int
    actions: ActionSpace


class Draw(NamedTuple):
    """Random numbers of a gradient step: standard normal, or uniform on [-1, 1). `shape` is a seed's."""

    kind: Literal["normal", "uniform"]
    shape: tuple[int, ...]


Noise = Mapping[str, Tensor]
"""Every random number of a gradient step, `[S, *shape]` by the name of its draw."""


@dataclass(frozen=True)
class Batch:
    """Transitions of one gradient step, every seed with its own.

    Attributes:
        observations: `[S, B, O]`, preprocessed.
        actions: `[S, B, A]`, inside the action box; discrete ones one-hot.
        rewards: `[S, B]`, preprocessed.
        next_observations: `[S, B, O]`, preprocessed.
        terminated: `[S, B]` float: 1 where the value of the next observation is 0. Time limits are 0 here.
        extra: the algorithm's own columns, `[S, B]` or `[S, B, A]` each: see `Algorithm.columns`.

    With a context of L rows, each has an axis L after B.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    next_observations: Tensor
    terminated: Tensor
    extra: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Networks:
    """What a loss reads. Gradients flow into the parameters of the stage's own groups alone.

    Attributes:
        parameters: by group, each tensor `[S, …]`.
        targets: of the groups that have a target network.
        steps: scalar: the number of this gradient step, counted from 1.
    """

    parameters: Mapping[str, Params]
    targets: Mapping[str, Params]
    steps: Tensor


Loss = Callable[[Networks, Batch, Noise], tuple[Tensor, dict[str, Tensor]]]
"""`loss(networks, batch, noise) -> (loss, diagnostics)`, `[S]` each, diagnostics detached."""


Schedule = Callable[[Tensor], Tensor]
"""The learning rate, a scalar, after so many gradient steps, a scalar."""


def cosine(rate: float, steps: int) -> Schedule:
    """From `rate` to 0 over `steps` gradient steps, half a period of a cosine (torch's CosineAnnealingLR)."""
    return lambda done: 0.5 * rate * (1 + torch.cos(math.pi / steps * done))


def warmed_up(rate: float, steps: int) -> Schedule:
    """`rate`, reached linearly in the first `steps` gradient steps."""
    return lambda done: rate * ((done + 1) / steps).clamp(max=1.0)


@dataclass(frozen=True)
class Stage:
    """One loss and what it moves. A step's stages run in order, each at the parameters the one before left.

    Attributes:
        loss: may neither synchronise with the device nor draw.
        rates: group to Adam's learning rate.
        every: gradient steps between runs. A CUDA graph takes 16 steps at once: a divisor of 16, or none.
        first: the gradient step of the first run, below `every`.
        targets: groups whose target networks follow afterwards,
        target_period: once in so many gradient steps.
        weight_decay: decoupled, as AdamW's (Loshchilov & Hutter 2019).
    """

    loss: Loss
    rates: Mapping[str, float | Schedule]
    every: int = 1
    first: int = 0
    targets: tuple[str, ...] = ()
    target_period: int = 1
    weight_decay: float = 0.0


class PolicyNetwork(NamedTuple):
    """What is saved and exported of a policy: an MLP, and what turns its outputs into an action.

    `head`: `tanh` and `clip` give the action box's centre plus half its width times the tanh or the outputs,
    bounded; `argmax` is the one-hot action of the largest mean over an ensemble. With `sequence` it is no MLP
    but a decision transformer, and `facts` holds its `context` and `heads`.
    """

    layers: Params
    head: Literal["tanh", "clip", "argmax", "sequence"]
    facts: Mapping[str, int] = MappingProxyType({})


class History(NamedTuple):
    """What an episode has been up to now, L time steps of it.

    Attributes:
        observations: `[S, R, L, O]`, preprocessed; the last is that which is to be acted on.
        actions: `[S, R, L, A]`; the last is not known yet.
        returns: `[S, R, L]`: what is asked for from there on, in preprocessed rewards.
        steps: `[S, R, L]` integers, counted from the episode's beginning.
    """

    observations: Tensor
    actions: Tensor
    returns: Tensor
    steps: Tensor


class Rows(NamedTuple):
    """A dataset's rows in order, or a collected episode's.

    Attributes:
        actions: `[T, A]`.
        rewards: `[T]`, preprocessed.
        terminated: `[T]` bool.
        lasts: `[T]` bool: the last rows of episodes.
        lowest: the lowest preprocessed reward of the dataset; NaN without a dataset.
    """

    actions: NDArray[np.float32]
    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    lasts: NDArray[np.bool_]
    lowest: float


Column = Callable[[Rows], NDArray[np.float32]]
"""`column(rows) -> values`, `[T]` or `[T, A]`."""

C = TypeVar("C", bound=AlgorithmConfig)


class Algorithm(Generic[C]):
    """One algorithm as functions of its config. Instances hold nothing else: what lasts is in the state."""

    actions: Literal["box", "discrete"] = "box"
    online: bool = True
    """Whether it can learn from rows that it collects."""

    def __init__(self, config: C, spaces: Spaces) -> None:
        self.config, self.spaces = config, spaces

    @property
    def context(self) -> int:
        """L: rows that are learned from together, from a drawn one on in the dataset's order."""
        return 1

    def init(self, generators: Sequence[torch.Generator]) -> tuple[dict[str, Params], tuple[str, ...]]:
        """Parameters by group, each seed from its own generator; and the groups with a target network."""
        raise NotImplementedError

    def draws(self) -> dict[str, Draw]:
        """The random numbers of a gradient step. Their order is part of the streams' definition."""
        return {}

    def stages(self) -> tuple[Stage, ...]:
        """A gradient step."""
        raise NotImplementedError

    def act(self, parameters: Mapping[str, Params], observations: Tensor) -> Tensor:
        """Deterministic actions of every seed at its own observations, `[S, R, O]` -> `[S, R, A]`."""
        raise NotImplementedError

    def act_after(self, parameters: Mapping[str, Params], history: History) -> Tensor:
        """Deterministic actions at the last observations, `[S, R, A]`; with a context, evaluation's."""
        return self.act(parameters, history.observations[:, :, -1])

    def asked_return(self, columns: Mapping[str, Tensor]) -> float:
        """With a context: the return, in preprocessed rewards, that evaluation asks for, by columns `[T]`."""
        del columns
        return math.nan

    def sample(self, parameters: Mapping[str, Params], observations: Tensor, normals: Tensor) -> Tensor:
        """Exploring actions by standard normal numbers `[S, R, A]`; without this, the deterministic ones."""
        del normals
        return self.act(parameters, observations)

    def policy(self, parameters: Mapping[str, Params]) -> PolicyNetwork:
        """What `act` computes with."""
        raise NotImplementedError

    def columns(self) -> dict[str, Column]:
        """Columns that batches need beside the dataset's; a collected row's is −inf till its episode ends."""
        return {}

    def rows(self, rows: Rows) -> NDArray[np.bool_] | None:
        """Which rows of the dataset are learned from, `[T]`; `None`: all of them."""
        del rows
        return None

    def activations(self) -> int:
        """Numbers that a seed's backward pass keeps at least, to refuse what cannot fit the memory.

        Here the activations of networks that `init_mlp` made, each applied to every row of the batch, of the
        stage that keeps most. An algorithm of other networks says its own number.
        """
        with torch.device("meta"):  # shapes alone
            parameters, _ = self.init([torch.Generator()])
        kept = {
            group: sum(_kept(name, each) for name, each in params.items())
            for group, params in parameters.items()
        }
        most = max(sum(kept[group] for group in stage.rates) for stage in self.stages())
        return self.config.batch_size * self.context * most


def _kept(name: str, parameter: Tensor) -> int:
    """Numbers of a row that a parameter's layer keeps: its input, of a norm what it gives and its scaling."""
    layer, _, part = name.partition(".")
    if part == "norm.weight":
        return 2 * parameter.numel()
    if part == "weight" and layer.isdigit() and layer != "0":  # the first layer's input is the batch
        return parameter.numel() // parameter.shape[-1]
    return 0
