"""What a behaviour policy scores, by episodes that did not choose it."""

import contextlib
import dataclasses
import importlib.metadata
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from behaviour.learner import Snapshot
from behaviour.recipe import Recipe
from cqlbench.core.seeding import Purpose, numpy_generator
from cqlbench.data.embedded.policy import BehaviourPolicy
from cqlbench.evaluation.rollout import rollout
from cqlbench.evaluation.scores import normalized_score

FINAL_EPISODES = 200

# Each evaluation has episodes of its own. The reported ones must not be those that the policy was chosen by:
# the first that happens to score well would be reported with its luck. Renumbering the first two would choose
# other policies than the shipped ones.
GLANCE, CHOICE, _REPORT_STOCHASTIC, _REPORT_DETERMINISTIC = 40, 200, 201, 202


def policy_of(snapshot: Snapshot, recipe: Recipe) -> BehaviourPolicy:
    """A snapshot as the policy that acts without torch."""
    return BehaviourPolicy.from_arrays(
        snapshot.actor, snapshot.action_low, snapshot.action_high, recipe=msgspec.structs.asdict(recipe)
    )


def reported(snapshot: Snapshot, recipe: Recipe) -> BehaviourPolicy:
    """The policy with its evaluation: fresh episodes, with and without action noise."""
    policy = policy_of(snapshot, recipe)
    evaluation = {
        "environment_steps": snapshot.steps,
        "stochastic": evaluate(policy, recipe, FINAL_EPISODES, _REPORT_STOCHASTIC, stochastic=True),
        "deterministic": evaluate(policy, recipe, FINAL_EPISODES, _REPORT_DETERMINISTIC, stochastic=False),
        "versions": _versions("torch", "envpool", "numpy"),
    }
    return dataclasses.replace(policy, evaluation=evaluation)


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
