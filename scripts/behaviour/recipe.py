"""How a behaviour policy is trained: a TOML file of `datasets/policies`."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from cqlbench.algorithms.sac import SACConfig
from cqlbench.core.errors import ConfigError
from cqlbench.environments.make import EnvironmentSpec

_MAX = sys.float_info.max
Finite = Annotated[float, Meta(ge=-_MAX, le=_MAX)]
Positive = Annotated[float, Meta(gt=0, le=_MAX)]
Count = Annotated[int, Meta(ge=1)]
Whole = Annotated[int, Meta(ge=0)]


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one behaviour policy is trained, and when it is good enough.

    Attributes:
        environment: gymnasium id.
        max_episode_steps: time limit.
        seed: of everything.
        environments: stepped together; as many gradient steps follow each of their steps.
        random_steps: environment steps with uniform actions before training starts.
        max_steps: environment steps after which the recipe gives up.
        evaluation_interval: environment steps between evaluations of the stochastic policy.
        score_min: return that counts as 0.
        score_max: return that counts as 100.
        score_low: accept the first policy whose normalised score is in [score_low, score_high]; without them
            the run goes on to `max_steps`.
        score_high: see `score_low`.
        hidden: hidden layer sizes of actor and critics.
        learning_rate: Adam's rate of every network.
        batch_size: B.
        discount: γ.
        polyak_rate: of the target critics.
        reward_scale: rewards are multiplied by it for training.
    """

    environment: Annotated[str, Meta(min_length=1)]
    max_episode_steps: Count
    seed: Whole
    max_steps: Count
    score_min: Finite
    score_max: Finite
    score_low: Finite | None = None
    score_high: Finite | None = None
    environments: Count = 4
    random_steps: Whole = 5_000
    evaluation_interval: Count = 5_000
    hidden: Annotated[tuple[Count, ...], Meta(min_length=1)] = (256, 256)
    learning_rate: Positive = 3e-4
    batch_size: Count = 256
    discount: Annotated[float, Meta(ge=0, le=1)] = 0.99
    polyak_rate: Annotated[float, Meta(gt=0, le=1)] = 0.005
    reward_scale: Positive = 1.0

    def __post_init__(self) -> None:
        if (self.score_low is None) != (self.score_high is None):
            raise ValueError("score_low and score_high: needs both or none")
        for low, high in (("score_min", "score_max"), ("score_low", "score_high")):
            if getattr(self, low) is not None and getattr(self, low) >= getattr(self, high):
                raise ValueError(f"{low} must be below {high}")

    @classmethod
    def read(cls, path: Path) -> "Recipe":
        """The recipe in a TOML file.

        Raises:
            ConfigError: the file cannot be read, names a key that a recipe does not have, lacks one, or has a
                value that makes no sense.
        """
        try:
            return msgspec.toml.decode(path.read_text(encoding="utf-8"), type=cls)
        except msgspec.ValidationError as error:
            raise ConfigError(f"The recipe {path} is not valid: {error}.") from error
        except (OSError, ValueError) as error:
            raise ConfigError(f"The recipe {path} cannot be read: {error}.") from error

    @property
    def score_range(self) -> tuple[float, float] | None:
        """`(score_low, score_high)`, if it is asked for."""
        return (
            None if self.score_low is None or self.score_high is None else (self.score_low, self.score_high)
        )

    def spec(self) -> EnvironmentSpec:
        """The training environment."""
        return EnvironmentSpec(self.environment, self.max_episode_steps)

    def algorithm(self) -> SACConfig:
        """Soft actor-critic in the project's terms."""
        return SACConfig(
            discount=self.discount,
            polyak_rate=self.polyak_rate,
            batch_size=self.batch_size,
            actor_hidden=list(self.hidden),
            critic_hidden=list(self.hidden),
            actor_learning_rate=self.learning_rate,
            critic_learning_rate=self.learning_rate,
            temperature_learning_rate=self.learning_rate,
        )
