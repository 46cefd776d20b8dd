"""The behaviour policies' recipe: read strictly, learns, and stops where it is told to."""

from pathlib import Path

import numpy as np
import pytest
from behaviour import learner
from behaviour.learner import Recipe, train, train_until
from msgspec.structs import replace

from cqlbench.core.errors import ConfigError
from cqlbench.core.paths import policies_dir
from cqlbench.data.embedded.policy import BehaviourPolicy
from cqlbench.engine.checkpoint import CheckpointError
from cqlbench.environments.make import make_environments

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


def test_a_recipe_that_does_not_get_there_says_so() -> None:
    short = replace(PENDULUM, max_steps=100)
    with pytest.raises(ConfigError, match=r"within 100 steps"):
        train_until(short, lambda _: False)


def test_a_killed_training_goes_on_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner, "_SAVE_SECONDS", 0)
    short = replace(PENDULUM, max_steps=360, evaluation_interval=120, random_steps=150)
    whole = list(train(short))
    saved = tmp_path / "pole.checkpoint"
    for snapshot in train(short, saved):
        if snapshot.steps == 240:
            break
    resumed = list(train(short, saved))
    assert [snapshot.steps for snapshot in resumed] == [0, 120, 240, 360]
    for mine, theirs in zip(resumed, whole, strict=True):
        for name, array in theirs.actor.items():
            np.testing.assert_array_equal(mine.actor[name], array)
    assert any((whole[2].actor[name] != array).any() for name, array in whole[3].actor.items())
    with pytest.raises(CheckpointError, match=r"of another run: recipe\.seed is 1 here and 0 there"):
        next(train(replace(short, seed=1), saved))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nonsense", "cannot be read"),
        ("colour = 3", "`colour`"),
        ("seed = 1", "required field"),
    ],
)
def test_bad_recipes_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        Recipe.read(path)


WHOLE = {
    "environment": '"A-v0"', "max_episode_steps": "5", "seed": "0", "max_steps": "10",
    "score_min": "0", "score_max": "1.5", "score_low": "2", "score_high": "3",
}  # fmt: skip


def write_recipe(path: Path, **values: str) -> Path:
    path.write_text("".join(f"{key} = {value}\n" for key, value in (WHOLE | values).items()))
    return path


def test_a_recipe_is_read_value_by_value(tmp_path: Path) -> None:
    recipe = Recipe.read(write_recipe(tmp_path / "x.toml", hidden="[8, 4]", learning_rate="1e-3"))
    assert (recipe.environment, recipe.seed, recipe.score_max) == ("A-v0", 0, 1.5)
    assert (recipe.hidden, recipe.learning_rate, recipe.batch_size) == ((8, 4), 1e-3, 256)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("environment", '""'),
        ("seed", "-1"),
        ("seed", "true"),
        ("max_steps", "1.5"),
        ("environments", "0"),
        ("hidden", "[]"),
        ("hidden", "[8, -8]"),
        ("learning_rate", "-0.1"),
        ("score_min", "nan"),
        ("score_high", "inf"),
        ("discount", "1.1"),
        ("polyak_rate", "0.0"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"x\.toml is not valid: .*{key}"):
        Recipe.read(write_recipe(tmp_path / "x.toml", **{key: value}))


@pytest.mark.parametrize(("low", "high"), [("score_min", "score_max"), ("score_low", "score_high")])
def test_ranges_that_hold_nothing_are_refused(tmp_path: Path, low: str, high: str) -> None:
    with pytest.raises(ConfigError, match=f"{low} must be below {high}"):
        Recipe.read(write_recipe(tmp_path / "x.toml", **{low: "9"}))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        Recipe.read(tmp_path / "x.toml")


def test_half_a_range_is_refused(tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "x.toml")
    path.write_text("".join(line for line in path.read_text().splitlines(True) if "score_low" not in line))
    with pytest.raises(ConfigError, match="needs both or none"):
        Recipe.read(path)


def test_shipped_policies_carry_the_recipe_beside_them() -> None:
    recipes = sorted(policies_dir().glob("*.toml"))
    assert recipes
    for path in recipes:
        recipe = Recipe.read(path)
        task, _, version = path.stem.rpartition("-v")
        policies = [path.stem] if recipe.score_range else [p.stem for p in _family(task, version)]
        assert policies
        for policy in map(BehaviourPolicy.load, policies):
            assert policy.recipe["environment"] == recipe.environment
            assert policy.recipe["seed"] == recipe.seed
            if recipe.score_range:
                low, high = recipe.score_range
                assert low <= policy.evaluation["stochastic"]["score_mean"] <= high


def _family(task: str, version: str) -> list[Path]:
    return sorted(policies_dir().glob(f"{task}-*-v{version}.npz"))
