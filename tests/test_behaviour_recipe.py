"""`cqlbench train-policy`: recipe in, a policy that collects a dataset out."""

import json
from pathlib import Path

import pytest

from cqlbench.behaviour_recipe import from_words
from cqlbench.data.behaviour import BehaviourPolicy
from cqlbench.errors import ConfigError

RECIPE = """
environment = "InvertedPendulum-v4"
max_episode_steps = 50
seed = 0
max_steps = 300
evaluation_interval = 200
random_steps = 100
score_min = 0.0
score_max = 50.0
score_low = 0.0
score_high = 100.0
hidden = [8]
batch_size = 16
"""


def test_a_policy_is_saved_with_its_recipe_and_evaluation(tmp_path: Path) -> None:
    (tmp_path / "pole.toml").write_text(RECIPE)
    from_words([f"recipe={tmp_path / 'pole.toml'}", f"output={tmp_path}"])
    policy = BehaviourPolicy.load(tmp_path / "pole.npz")
    notes = json.loads((tmp_path / "pole.json").read_text())
    assert policy.observation_size == 4
    assert notes["recipe"]["hidden"] == [8]
    assert notes["evaluation"]["environment_steps"] == 200
    assert 0 <= notes["evaluation"]["stochastic"]["score_mean"] <= 100


@pytest.mark.parametrize("words", [[], ["recipe="], ["colour=3"], ["recipe=no-such-recipe"]])
def test_mistakes_are_one_sentence(words: list[str]) -> None:
    with pytest.raises(ConfigError):
        from_words(words)
