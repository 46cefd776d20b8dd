"""Discrete actions, end to end: a dataset that Minari wrote, the real command, the real environment."""

import json
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from minari import create_dataset_from_buffers
from minari.data_collector import EpisodeBuffer

CARD = """
[card."minari/test/balance-v0"]
source = "minari"
environment = { id = "CartPole-v1", max_episode_steps = 500 }
score_min = 0.0
score_max = 500.0
endpoints_source = "the time limit"
licence = "MIT"
"""
SMALL = ["algorithm.critic_hidden=[64,64]", "algorithm.batch_size=64", "algorithm.critic_learning_rate=1e-3"]


@pytest.fixture
def balance(world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """60 episodes of a pole on a cart, balanced well, but three actions in five are drawn by lot."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(world / "minari"))
    (world / "cards" / "balance.toml").write_text(CARD)
    rng = np.random.default_rng(0)
    environment = gymnasium.make("CartPole-v1")
    episodes = []
    for number in range(60):
        observation, _ = environment.reset(seed=number)
        rows: list[tuple] = []
        ended = False
        while not ended:
            well = int(observation[2] + 0.5 * observation[3] > 0)  # the pole's angle and angular velocity
            action = int(rng.integers(2)) if rng.random() < 0.6 else well
            following, reward, terminated, truncated, _ = environment.step(action)
            rows.append((observation, action, float(reward), terminated, truncated))
            observation, ended = following, terminated or truncated
        observations, actions, rewards, terminations, truncations = map(list, zip(*rows, strict=True))
        episodes.append(
            EpisodeBuffer(
                id=number,
                observations=np.array([*observations, observation]),
                actions=np.array(actions),
                rewards=rewards,
                terminations=terminations,
                truncations=truncations,
            )
        )
    create_dataset_from_buffers(
        "test/balance-v0",
        episodes,
        env=environment,
        algorithm_name="scripted",
        author="cqlbench",
        author_email="none",
        code_permalink="none",
        description="none",
        data_format="hdf5",
    )
    return world


# Minari's advice on a dataset that names no evaluation environment.
@pytest.mark.filterwarnings("ignore:`eval_env` is set to None:UserWarning")
def test_the_data_are_improved_upon_and_options_of_continuous_actions_are_refused(
    balance: Path, bench: Callable[..., tuple[int, str, str]]
) -> None:
    budget = ["seeds=2", "steps=300", "budget.evaluation_interval=300", "budget.evaluation_episodes=10"]
    words = ["dataset=minari/test/balance-v0", *budget, *SMALL]
    status, _, err = bench(*words, "algorithm.lagrange=true")
    assert status == 2
    assert "cqlbench: algorithm.lagrange=True is for continuous actions" in err
    status, _, err = bench(*words, "preset=d4rl-gym")
    assert status == 2
    assert "is for continuous actions" in err
    assert not list((balance / "results").rglob("seed-*.json"))

    status, out, err = bench(*words)
    assert status == 0, err
    assert "CartPole-v1" in out
    records = [json.loads(path.read_text()) for path in sorted((balance / "results").rglob("seed-*.json"))]
    assert [record["seed"] for record in records] == [0, 1]
    for record in records:
        assert record["status"] == "finished"
        assert record["config"]["algorithm"]["conservative_weight"] == 2.0, "the preset of discrete actions"
        data, (last,) = record["dataset"]["behaviour_return_mean"], record["evaluations"]
        assert 50 < data < 100
        assert np.mean(last["returns"]) > 2 * data
