"""How a behaviour policy is trained: a TOML file of `datasets/policies`."""

import math
import tomllib
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

from cqlbench.algorithms.sac import SACConfig
from cqlbench.core.errors import ConfigError
from cqlbench.environments.make import EnvironmentSpec


@dataclass(frozen=True)
class Recipe:
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

    environment: str
    max_episode_steps: int
    seed: int
    max_steps: int
    score_min: float
    score_max: float
    score_low: float | None = None
    score_high: float | None = None
    environments: int = 4
    random_steps: int = 5_000
    evaluation_interval: int = 5_000
    hidden: tuple[int, ...] = (256, 256)
    learning_rate: float = 3e-4
    batch_size: int = 256
    discount: float = 0.99
    polyak_rate: float = 0.005
    reward_scale: float = 1.0

    @classmethod
    def read(cls, path: Path) -> "Recipe":
        """The recipe in a TOML file.

        Raises:
            ConfigError: the file cannot be read, names a key that a recipe does not have, lacks one, or has a
                value that makes no sense.
        """
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"The recipe {path} cannot be read: {error}") from error
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ConfigError(f"The recipe {path} has the unknown key '{unknown[0]}'.")
        missing = [
            field.name for field in fields(cls) if field.default is MISSING and field.name not in values
        ]
        if missing:
            raise ConfigError(f"The recipe {path} lacks the key '{missing[0]}'.")
        for name, value in values.items():
            wanted = _fault(name, value)
            if wanted:
                raise ConfigError(f"The recipe {path} has {name} = {value!r}, but {wanted} is needed.")
        if "hidden" in values:
            values["hidden"] = tuple(values["hidden"])
        if ("score_low" in values) != ("score_high" in values):
            raise ConfigError(
                f"The recipe {path} has one of score_low and score_high, and needs both or none."
            )
        for low, high in (("score_min", "score_max"), ("score_low", "score_high")):
            if low in values and values[low] >= values[high]:
                raise ConfigError(
                    f"The recipe {path} has {low} = {values[low]}, not below {high} = {values[high]}."
                )
        return cls(**values)

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


def _fault(name: str, value: object) -> str | None:
    """What the key of a recipe needs instead of `value`, or `None` if `value` will do."""
    if name == "environment":
        return None if isinstance(value, str) and value else "the id of an environment"
    if name == "hidden":
        sizes = value if isinstance(value, list) else []
        return (
            None if sizes and all(_whole(size, 1) for size in sizes) else "a list of positive whole numbers"
        )
    if name in ("seed", "random_steps"):
        return None if _whole(value, 0) else "a whole number from 0 on"
    if {field.name: field.type for field in fields(Recipe)}[name] is int:
        return None if _whole(value, 1) else "a positive whole number"
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "a finite number"
    if name == "discount":
        return None if 0 <= value <= 1 else "a number from 0 to 1"
    if name == "polyak_rate":
        return None if 0 < value <= 1 else "a number above 0 and up to 1"
    if name in ("learning_rate", "reward_scale"):
        return None if value > 0 else "a positive number"
    return None


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
