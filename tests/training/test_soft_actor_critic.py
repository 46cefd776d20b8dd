"""The behaviour policies' recipe: read strictly, learns, and stops where it is told to."""

from pathlib import Path

import numpy as np
import pytest

from cqlbench.data.behaviour import BehaviourPolicy
from cqlbench.environments import make_environments
from cqlbench.errors import ConfigError
from cqlbench.paths import policies_dir
from cqlbench.training.soft_actor_critic import Recipe, train, train_until

PENDULUM = Recipe(
    environment="InvertedPendulum-v4",
    max_episode_steps=100,
    seed=0,
    max_steps=4_000,
    score_min=0.0,
    score_max=100.0,
    score_low=60.0,
    score_high=100.0,
    random_steps=500,
    evaluation_interval=500,
    hidden=(32, 32),
    learning_rate=3e-3,
    batch_size=64,
)


def mean_return(policy: BehaviourPolicy, recipe: Recipe) -> float:
    environments = make_environments(recipe.spec(), list(range(10)))
    observations, returns, over = environments.reset(), np.zeros(10), np.zeros(10, bool)
    while not over.all():
        step = environments.step(policy.mean_action(observations))
        returns += step.rewards * ~over
        over |= step.terminated | step.truncated
        observations = step.observations
    environments.close()
    return float(returns.mean())


def test_it_learns_to_balance_a_pole() -> None:
    def score(snapshot) -> float:
        policy = BehaviourPolicy.from_arrays(snapshot.actor, snapshot.action_low, snapshot.action_high)
        return mean_return(policy, PENDULUM)

    seen: list[float] = []

    def accept(snapshot) -> bool:
        seen.append(score(snapshot))
        return seen[-1] >= PENDULUM.score_low

    train_until(PENDULUM, accept)
    assert seen[0] < 30
    assert seen[-1] >= 60


def test_the_same_recipe_gives_the_same_policy() -> None:
    short = Recipe(**(vars(PENDULUM) | {"max_steps": 600, "evaluation_interval": 550}))
    first, second = (list(train(short))[-1] for _ in range(2))
    for name, array in first.actor.items():
        assert np.array_equal(array, second.actor[name])


def test_a_recipe_that_does_not_get_there_says_so() -> None:
    short = Recipe(**(vars(PENDULUM) | {"max_steps": 100}))
    with pytest.raises(ConfigError, match=r"within 100 steps"):
        train_until(short, lambda _: False)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("nonsense", "cannot be read"), ("colour = 3", "unknown key 'colour'"), ("seed = 1", "lacks the key")],
)
def test_bad_recipes_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        Recipe.read(path)


def test_shipped_policies_carry_the_recipe_beside_them() -> None:
    recipes = sorted(policies_dir().glob("*.toml"))
    assert recipes
    for path in recipes:
        recipe = Recipe.read(path)
        policy = BehaviourPolicy.load(path.stem)
        assert policy.recipe["environment"] == recipe.environment
        assert policy.recipe["seed"] == recipe.seed
        score = policy.evaluation["stochastic"]["score_mean"]
        assert recipe.score_low <= score <= recipe.score_high
