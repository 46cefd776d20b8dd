"""Trains the behaviour policy of an embedded dataset: recipe in, policy and its evaluation out."""

import contextlib
import dataclasses
import importlib.metadata
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cqlbench.data.behaviour import BehaviourPolicy
from cqlbench.errors import ConfigError
from cqlbench.evaluation.rollout import rollout
from cqlbench.evaluation.scores import normalized_score
from cqlbench.paths import policies_dir
from cqlbench.seeding import Purpose, numpy_generator
from cqlbench.training.soft_actor_critic import Recipe, Snapshot, train_until

_GLANCE_EPISODES = 40
_FINAL_EPISODES = 200

# Each evaluation has episodes of its own. The reported ones must not be those that the policy was chosen by:
# the first that happens to score well would be reported with its luck. Renumbering the first two would choose
# other policies than the shipped ones.
_GLANCE, _CHOICE, _REPORT_STOCHASTIC, _REPORT_DETERMINISTIC = 40, 200, 201, 202


def train_policy(recipe_name: str, output: Path | None = None) -> BehaviourPolicy:
    """Train until the stochastic policy's score is what the recipe asks for, then save it.

    Args:
        recipe_name: name of a recipe in `datasets/policies`, or the path of a TOML file.
        output: folder for `<name>.npz` and `<name>.json`; `datasets/policies` by default.

    Raises:
        ConfigError: the recipe cannot be read, `output` cannot be written, or training does not reach the
            score that the recipe asks for.
    """
    path = Path(recipe_name)
    if path.suffix != ".toml":
        path = policies_dir() / f"{recipe_name}.toml"
    recipe = Recipe.read(path)
    folder = output or policies_dir()
    _check_writable(folder)
    # The order of a sum depends on the number of threads; at these sizes one is the fastest, too.
    torch.set_num_threads(1)

    def accept(snapshot: Snapshot) -> bool:
        policy = _policy(snapshot, recipe)
        glance = evaluate(policy, recipe, _GLANCE_EPISODES, _GLANCE, stochastic=True)
        scored = f"score {glance['score_mean']:6.1f}  return {glance['return_mean']:7.1f}"
        print_line(f"{snapshot.steps:>9,} steps  {scored}")
        if not recipe.score_low <= glance["score_mean"] <= recipe.score_high:
            return False
        sure = evaluate(policy, recipe, _FINAL_EPISODES, _CHOICE, stochastic=True)
        return bool(recipe.score_low <= sure["score_mean"] <= recipe.score_high)

    snapshot = train_until(recipe, accept)
    policy = _policy(snapshot, recipe)
    policy = dataclasses.replace(policy, evaluation=report(policy, recipe, snapshot.steps))
    target = folder / f"{path.stem}.npz"
    policy.save(target)
    print_line(f"Saved {target}")
    return policy


def report(policy: BehaviourPolicy, recipe: Recipe, environment_steps: int) -> dict[str, Any]:
    """What the saved policy says of its score: fresh episodes, with and without action noise."""
    return {
        "environment_steps": environment_steps,
        "stochastic": evaluate(policy, recipe, _FINAL_EPISODES, _REPORT_STOCHASTIC, stochastic=True),
        "deterministic": evaluate(policy, recipe, _FINAL_EPISODES, _REPORT_DETERMINISTIC, stochastic=False),
        "versions": _versions("torch", "envpool", "numpy"),
    }


def evaluate(
    policy: BehaviourPolicy, recipe: Recipe, episodes: int, evaluation_index: int, *, stochastic: bool
) -> dict[str, Any]:
    """Mean and spread of `episodes` whole episodes, as returns and as normalised scores.

    Each `evaluation_index` has its own initial states and action noise.
    """
    generator = numpy_generator(recipe.seed, Purpose.EVALUATION, evaluation_index)

    def act(observations: NDArray[np.float64]) -> NDArray[np.float32]:
        states = observations[0]
        if not stochastic:
            return policy.mean_action(states)[None]
        normals = generator.standard_normal((len(states), policy.action_size))
        return policy.sample(states, normals)[None]

    played = rollout(act, recipe.spec(), [recipe.seed], episodes, evaluation_index)
    scores = normalized_score(played.returns, recipe.score_min, recipe.score_max)
    return {
        "episodes": episodes,
        "return_mean": round(float(played.returns.mean()), 2),
        "return_std": round(float(played.returns.std(ddof=1)), 2),
        "score_mean": round(float(scores.mean()), 2),
        "length_mean": round(float(played.lengths.mean()), 1),
        "evaluation_index": evaluation_index,
        "environment": played.environment,
    }


def _versions(*packages: str) -> dict[str, str]:
    """Versions of those that are installed: envpool is not, off Linux."""
    versions = {}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _check_writable(folder: Path) -> None:
    """Training takes minutes: a folder that cannot be written is found before."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"The policy cannot be saved in {folder} ({reason}); name another folder with output=."
        ) from error


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
