"""`cqlbench train-policy`: recipe in, a policy that collects a dataset out."""

import json
from pathlib import Path

import pytest

from cqlbench import behaviour_recipe
from cqlbench.behaviour_recipe import evaluate, from_words
from cqlbench.data.behaviour import BehaviourPolicy
from cqlbench.errors import ConfigError
from cqlbench.evaluation.rollout import rollout
from cqlbench.paths import policies_dir
from cqlbench.training.soft_actor_critic import Recipe

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


def test_the_report_is_of_other_episodes_than_the_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played: list[tuple[int, int]] = []

    def watched(act, spec, seeds, episodes, evaluation_index):
        played.append((episodes, evaluation_index))
        return rollout(act, spec, seeds, episodes, evaluation_index)

    monkeypatch.setattr(behaviour_recipe, "rollout", watched)
    (tmp_path / "pole.toml").write_text(RECIPE)
    policy = from_words([f"recipe={tmp_path / 'pole.toml'}", f"output={tmp_path}"])
    stochastic, deterministic = played[-2:]
    assert [episodes for episodes, _ in played] == [40, 200, 200, 200]
    assert len({index for _, index in played}) == len(played)
    assert policy.evaluation["stochastic"]["evaluation_index"] == stochastic[1]
    assert policy.evaluation["deterministic"]["evaluation_index"] == deterministic[1]


def test_evaluations_of_another_index_play_other_episodes() -> None:
    policy = BehaviourPolicy.load("hopper-medium-v0")
    recipe = Recipe.read(policies_dir() / "hopper-medium-v0.toml")
    first, again, other = (evaluate(policy, recipe, 4, index, stochastic=True) for index in (1, 1, 2))
    assert first == again
    assert first["return_mean"] != other["return_mean"]


def test_shipped_reports_are_not_of_the_episodes_the_policy_was_chosen_by() -> None:
    for path in policies_dir().glob("*.npz"):
        evaluation = BehaviourPolicy.load(path).evaluation
        indices = {evaluation[kind]["evaluation_index"] for kind in ("stochastic", "deterministic")}
        assert len(indices) == 2
        assert not indices & {behaviour_recipe._GLANCE, behaviour_recipe._CHOICE}


@pytest.mark.parametrize("output", ["taken/below", "taken", "x" * 300, "/proc/none"])
def test_an_output_that_cannot_be_written_is_found_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    (tmp_path / "taken").touch()
    (tmp_path / "pole.toml").write_text(RECIPE)
    monkeypatch.setattr(behaviour_recipe, "train_until", lambda *_: pytest.fail("it trained"))
    with pytest.raises(ConfigError, match=r"The policy cannot be saved in .*output=") as caught:
        from_words([f"recipe={tmp_path / 'pole.toml'}", f"output={tmp_path / output}"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("words", [[], ["recipe="], ["colour=3"], ["recipe=no-such-recipe"]])
def test_mistakes_are_one_sentence(words: list[str]) -> None:
    with pytest.raises(ConfigError):
        from_words(words)
