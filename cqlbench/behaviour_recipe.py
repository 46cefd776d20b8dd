"""Trains the behaviour policy of an embedded dataset: recipe in, policy and its evaluation out."""

import dataclasses
import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cqlbench.data.behaviour import BehaviourPolicy
from cqlbench.environments import EnvironmentSpec
from cqlbench.errors import ConfigError
from cqlbench.evaluation.rollout import rollout
from cqlbench.evaluation.scores import normalized_score
from cqlbench.paths import policies_dir
from cqlbench.seeding import Purpose, numpy_generator
from cqlbench.training.soft_actor_critic import Recipe, Snapshot, train_until

_GLANCE_EPISODES = 40
_FINAL_EPISODES = 200


def train_policy(recipe_name: str, output: Path | None = None) -> BehaviourPolicy:
    """Train until the stochastic policy's score is what the recipe asks for, then save it.

    Args:
        recipe_name: name of a recipe in `datasets/policies`, or the path of a TOML file.
        output: folder for `<name>.npz` and `<name>.json`; `datasets/policies` by default.

    Raises:
        ConfigError: the recipe cannot be read, or asks for a score that training does not reach.
    """
    path = Path(recipe_name)
    if path.suffix != ".toml":
        path = policies_dir() / f"{recipe_name}.toml"
    recipe = Recipe.read(path)
    spec = recipe.spec()
    # The order of a sum depends on the number of threads; at these sizes one is the fastest, too.
    torch.set_num_threads(1)

    def accept(snapshot: Snapshot) -> bool:
        policy = _policy(snapshot, recipe)
        glance = evaluate(policy, spec, recipe.seed, _GLANCE_EPISODES, recipe, stochastic=True)
        scored = f"score {glance['score_mean']:6.1f}  return {glance['return_mean']:7.1f}"
        print_line(f"{snapshot.steps:>9,} steps  {scored}")
        if not recipe.score_low <= glance["score_mean"] <= recipe.score_high:
            return False
        sure = evaluate(policy, spec, recipe.seed, _FINAL_EPISODES, recipe, stochastic=True)
        return bool(recipe.score_low <= sure["score_mean"] <= recipe.score_high)

    snapshot = train_until(recipe, accept)
    policy = _policy(snapshot, recipe)
    policy = dataclasses.replace(
        policy,
        evaluation={
            "environment_steps": snapshot.steps,
            "stochastic": evaluate(policy, spec, recipe.seed, _FINAL_EPISODES, recipe, stochastic=True),
            "deterministic": evaluate(policy, spec, recipe.seed, _FINAL_EPISODES, recipe, stochastic=False),
            "versions": {name: importlib.metadata.version(name) for name in ("torch", "envpool", "numpy")},
        },
    )
    target = (output or policies_dir()) / f"{path.stem}.npz"
    policy.save(target)
    print_line(f"Saved {target}")
    return policy


def evaluate(
    policy: BehaviourPolicy,
    spec: EnvironmentSpec,
    seed: int,
    episodes: int,
    recipe: Recipe,
    *,
    stochastic: bool,
) -> dict[str, Any]:
    """Mean and spread of `episodes` whole episodes, as returns and as normalised scores."""
    generator = numpy_generator(seed, Purpose.EVALUATION, episodes)

    def act(observations: NDArray[np.float64]) -> NDArray[np.float32]:
        states = observations[0]
        if not stochastic:
            return policy.mean_action(states)[None]
        normals = generator.standard_normal((len(states), policy.action_size))
        return policy.sample(states, normals)[None]

    played = rollout(act, spec, [seed], episodes, evaluation_index=episodes)
    scores = normalized_score(played.returns, recipe.score_min, recipe.score_max)
    return {
        "episodes": episodes,
        "return_mean": round(float(played.returns.mean()), 2),
        "return_std": round(float(played.returns.std(ddof=1)), 2),
        "score_mean": round(float(scores.mean()), 2),
        "length_mean": round(float(played.lengths.mean()), 1),
        "environment": played.environment,
    }


def _policy(snapshot: Snapshot, recipe: Recipe) -> BehaviourPolicy:
    return BehaviourPolicy.from_arrays(
        snapshot.actor, snapshot.action_low, snapshot.action_high, recipe=dataclasses.asdict(recipe)
    )


def print_line(text: str) -> None:
    """One line of progress, at once."""
    print(text, flush=True)  # noqa: T201  (the command's output)


def from_words(words: list[str]) -> BehaviourPolicy:
    """`train_policy` from `recipe=` and `output=` words.

    Raises:
        ConfigError: a word that is neither, or no recipe.
    """
    values: dict[str, str] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in ("recipe", "output") or not value:
            raise ConfigError(
                f"'{word}' is not understood; train-policy takes recipe=NAME and output=FOLDER."
            )
        values[key] = value
    if "recipe" not in values:
        raise ConfigError("No recipe was named; say for instance recipe=hopper-medium-v0.")
    return train_policy(values["recipe"], Path(values["output"]) if "output" in values else None)
