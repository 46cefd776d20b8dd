"""`make policy`: recipe in, a policy that collects a dataset out."""

import json
from pathlib import Path

import pytest
from behaviour import evaluate, train
from behaviour.train import train_policies

from cqlbench.core.errors import ConfigError
from cqlbench.data.embedded.policy import BehaviourPolicy
from cqlbench.evaluation.rollout import rollout

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


def test_a_policy_is_saved_with_its_recipe_and_a_report_of_other_episodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played: list[tuple[int, int]] = []

    def watched(act, spec, seeds, episodes, evaluation_index):
        played.append((episodes, evaluation_index))
        return rollout(act, spec, seeds, episodes, evaluation_index)

    monkeypatch.setattr(evaluate, "rollout", watched)
    (tmp_path / "pole.toml").write_text(RECIPE)
    train_policies(str(tmp_path / "pole.toml"), tmp_path)
    policy = BehaviourPolicy.load(tmp_path / "pole.npz")
    notes = json.loads((tmp_path / "pole.json").read_text())
    assert policy.observation_size == 4
    assert notes["recipe"]["hidden"] == [8]
    assert notes["evaluation"]["environment_steps"] == 200
    assert 0 <= notes["evaluation"]["stochastic"]["score_mean"] <= 100
    stochastic, deterministic = played[-2:]
    assert [episodes for episodes, _ in played] == [40, 200, 200, 200]
    assert len({index for _, index in played}) == len(played)
    assert policy.evaluation["stochastic"]["evaluation_index"] == stochastic[1]
    assert policy.evaluation["deterministic"]["evaluation_index"] == deterministic[1]


def test_a_recipe_without_a_score_gives_a_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "FINAL_EPISODES", 10)
    monkeypatch.setattr(train, "_GLANCE_EPISODES", 10)
    kept = [line for line in RECIPE.splitlines() if not line.startswith(("score_low", "score_high"))]
    text = "\n".join([*kept, "learning_rate = 3e-3"]).replace("[8]", "[32, 32]").replace("= 16", "= 64")
    text = text.replace("max_steps = 300", "max_steps = 1800").replace("interval = 200", "interval = 300")
    (tmp_path / "pole-v3.toml").write_text(text)
    policies = train_policies(str(tmp_path / "pole-v3.toml"), tmp_path)
    assert {"pole-random-v3", "pole-medium-v3", "pole-expert-v3", "pole-replay1-v3"} <= set(policies)
    assert {path.stem for path in tmp_path.glob("*.npz")} == set(policies)
    assert policies["pole-random-v3"].evaluation["environment_steps"] == 0
    score = {name: policy.evaluation["stochastic"]["score_mean"] for name, policy in policies.items()}
    assert score["pole-random-v3"] < score["pole-expert-v3"]


@pytest.mark.parametrize(("family", "taken"), [(False, "pole-v3.json"), (True, "pole-expert-v3.npz")])
def test_policies_that_exist_are_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: bool, taken: str
) -> None:
    lines = [line for line in RECIPE.splitlines() if not (family and line.startswith(("score_l", "score_h")))]
    (tmp_path / "pole-v3.toml").write_text("\n".join(lines))
    (tmp_path / taken).write_text("precious")
    monkeypatch.setattr(train, "train_until", lambda *_: pytest.fail("it trained"))
    monkeypatch.setattr(train, "train", lambda *_: pytest.fail("it trained"))
    with pytest.raises(ConfigError, match="overwrite=true"):
        train_policies(str(tmp_path / "pole-v3.toml"), tmp_path)
    assert (tmp_path / taken).read_text() == "precious"


@pytest.mark.parametrize("output", ["taken/below", "taken", "x" * 300, "/proc/none"])
def test_an_output_that_cannot_be_written_is_found_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    (tmp_path / "taken").touch()
    (tmp_path / "pole.toml").write_text(RECIPE)
    monkeypatch.setattr(train, "train_until", lambda *_: pytest.fail("it trained"))
    with pytest.raises(ConfigError, match=r"The policy cannot be saved in .*output=") as caught:
        train_policies(str(tmp_path / "pole.toml"), tmp_path / output)
    assert "\n" not in str(caught.value)


def test_mistakes_are_one_sentence() -> None:
    with pytest.raises(ConfigError, match="no-such-recipe"):
        train_policies("no-such-recipe")
