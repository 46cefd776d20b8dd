"""Words on the command line become a checked config, or one sentence."""

import copy
import functools
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from cqlbench.algorithms.cql import CQLConfig
from cqlbench.algorithms.sac import SACConfig
from cqlbench.core.errors import ConfigError
from cqlbench.core.paths import benchmarks_dir
from cqlbench.experiments.compose import Composed, check, compose_bench
from cqlbench.experiments.config import BenchConfig


@pytest.mark.parametrize(
    ("preset", "protocol"),
    [("d4rl-gym", (5_000, 10)), ("d4rl-antmaze", (50_000, 100)), ("d4rl-maze2d", (5_000, 100))],
)
def test_the_paper_budget_follows_the_familys_protocol(preset: str, protocol: tuple[int, int]) -> None:
    budget = compose_bench(["dataset=x"], "paper", preset).config.budget
    assert (budget.steps, budget.evaluation_interval, budget.evaluation_episodes) == (1_000_000, *protocol)
    quick = compose_bench(["dataset=x", "budget=quick"], "paper", preset).config.budget
    assert quick.evaluation_episodes == 20
    composed = compose_bench(["dataset=x", "protocol.evaluation_episodes=3"], "paper", preset)
    assert composed.config.budget.evaluation_episodes == 3
    assert composed.changes == ("protocol.evaluation_episodes=3",)


def test_defaults_are_those_of_the_dataclass() -> None:
    config = compose_bench(["dataset=hopper-medium"], "paper").config
    assert isinstance(config, BenchConfig)
    assert config.algorithm == CQLConfig()
    assert (config.budget.name, config.budget.steps, config.budget.comparable) == ("paper", 1_000_000, True)


@pytest.mark.parametrize(
    ("word", "seeds"),
    [
        ("seeds=3", [0, 1, 2]),
        ("seeds=1", [0]),
        ("seeds=4,7", [4, 7]),
        ("seeds=[4, 7]", [4, 7]),
        ("seeds=[5]", [5]),
    ],
)
def test_seeds_are_a_count_or_a_list(word: str, seeds: list[int]) -> None:
    assert compose_bench(["dataset=x", word], "smoke").config.seeds == seeds


def test_a_named_budget_wins_over_the_default_and_words_win_over_both() -> None:
    config = compose_bench(["dataset=x", "budget=smoke", "steps=7", "algorithm.batch_size=5"], "paper").config
    assert (config.budget.name, config.budget.steps, config.algorithm.batch_size) == ("smoke", 7, 5)


def test_changes_to_what_was_published_are_named() -> None:
    assert compose_bench(["dataset=x", "seeds=2", "device=cpu"], "paper").changes == ()
    changed = compose_bench(["dataset=x", "steps=7", "algorithm.batch_size=5"], "paper").changes
    assert changed == ("budget.steps=7", "algorithm.batch_size=5")


@functools.cache
def plain(budget: str) -> Composed:
    return compose_bench(["dataset=x", "algorithm.proposals=3"], budget)


@pytest.mark.parametrize(
    ("budget", "word"),
    [
        ("paper", "algorithm.batch_size=256"),
        ("paper", "algorithm.discount=0.990"),
        ("paper", "algorithm.gap_clip_min=null"),
        ("paper", "algorithm.critic_hidden=[256,256,256]"),
        ("paper", "steps=1000000"),
        ("paper", "budget.comparable=true"),
        ("paper", "protocol.evaluation_episodes=10"),
        ("paper", "online.frames=0"),
        ("quick", "algorithm.batch_size=128"),
        ("quick", "budget.evaluation_episodes=20"),
    ],
)
def test_a_key_set_to_the_value_that_it_has_anyway_is_no_change(budget: str, word: str) -> None:
    named = compose_bench(["dataset=x", word, "algorithm.proposals=3"], budget)
    assert named.changes == ("algorithm.proposals=3",)
    assert named.config == plain(budget).config


def test_a_key_set_to_a_default_that_another_key_moves_is_a_change() -> None:
    words = ["protocol.steps=7", "budget.steps=1000000"]
    composed = compose_bench(["dataset=x", *words], "paper")
    assert composed.config.budget.steps == 1_000_000
    assert compose_bench(["dataset=x", *composed.changes], "paper").config == composed.config
    alone = compose_bench(["dataset=x", "online.offline_fraction=1"], "quick", online=True)
    assert alone.changes == ("online.offline_fraction=1",), "it stays 1 then, where the budget's falls"


def test_a_preset_wins_over_defaults_and_loses_against_words() -> None:
    named = compose_bench(["dataset=x"], "paper", "d4rl-gym", name="hopper-medium-v2").config.algorithm
    assert (named.normalize_rewards, named.reward_scale, named.reward_bias) == (True, 1.0, 0.0)
    changed = compose_bench(
        ["dataset=x", "algorithm.reward_scale=2"], "paper", "d4rl-gym", name="hopper-medium-v2"
    ).config
    assert (changed.algorithm.normalize_rewards, changed.algorithm.reward_scale) == (True, 2.0)
    chosen = compose_bench(["dataset=x", "preset=none"], "paper", "d4rl-gym", name="hopper-medium-v2").config
    assert not chosen.algorithm.normalize_rewards


def test_discrete_actions_presets() -> None:
    ours = compose_bench(["dataset=x"], "paper", "discrete").config.algorithm
    assert (ours.critics, ours.conservative_weight, ours.target_update_period) == (2, 2.0, 1)
    theirs = compose_bench(["dataset=x"], "paper", "discrete-d3rlpy").config.algorithm
    assert (theirs.critics, theirs.batch_size, theirs.critic_learning_rate) == (1, 32, 6.25e-5)
    assert (theirs.polyak_rate, theirs.target_update_period) == (1.0, 8000)


def test_a_file_that_is_edited_counts_from_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(benchmarks_dir(), tmp_path / "copy")
    monkeypatch.setattr("cqlbench.experiments.compose.benchmarks_dir", lambda: tmp_path / "copy")
    path = tmp_path / "copy" / "budget" / "smoke.yaml"
    before = compose_bench(["dataset=x"], "smoke").config.budget
    path.write_text(path.read_text().replace(f"steps: {before.steps}", "steps: 77"))
    assert compose_bench(["dataset=x"], "smoke").config.budget == replace(before, steps=77)


def test_paths_may_hold_anything() -> None:
    config = compose_bench(["dataset=/a b/it's=(odd).hdf5", "results=C:/x,y"], "smoke").config
    assert (config.dataset, config.results) == ("/a b/it's=(odd).hdf5", "C:/x,y")


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("seeds=[]", "seed list is empty"),
        ("seeds=", "seed list is empty"),
        ("resume=", "resume is empty"),
        ("seeds=0", "seed list is empty"),
        ("seeds=1,2,1", "Seed 1 stands more than once"),
        ("seeds=-1", "Seed -1 is not between"),
        ("seeds=2024", "say seeds=[2024]"),
        ("seeds=100000", "say seeds=[100000]"),
        ("seeds=a", "seeds=[a]: "),
        ("budget=quik", "'quik' (choose from gate, paper, quick, smoke)"),
        ("algorithm=cqll", "'cqll' (choose from awac, bc, bc10, calql, cql"),
        ("algorithm.sparse_rewards=true", "say algorithm.calibrated=true too"),
        ("preset/by_algorithm=x", "Unknown key 'preset/by_algorithm'"),
        ("algorithm.conservativ_weight=3", "nearest is 'algorithm.conservative_weight'"),
        ("conservative_weight=3", "nearest is 'algorithm.conservative_weight'"),
        ("cql_alpha=5", "it is algorithm.conservative_weight here"),
        ("algorithm.cql_n_actions=5", "it is algorithm.proposals here"),
        ("lr=1e-4", "it is algorithm.actor_learning_rate or algorithm.critic_learning_rate here"),
        ("seed=1", "it is seeds=[1] here"),
        ("tau=1", "it is algorithm.polyak_rate here"),
        ("algorithm.discount=x", "algorithm.discount=x: Value 'x'"),
        ("algorithm.conservative_weight=nan", "finite"),
        ("preset=d4rl-gim", "preset 'd4rl-gim'"),
        ("algorithm.actor_hidden=abc", "algorithm.actor_hidden=abc: "),
        ("algorithm=iql,td3_bc", "cqlbench paper algorithm=iql,td3_bc"),
        ("algorithm=all", "cqlbench paper algorithm=all"),
        ("STEPS=3", "'steps'"),
        ("steps=0", "budget.steps=0 must be"),
        ("steps=1e6", "budget.steps=1e6: whole numbers"),
        ("steps=5,6", "budget.steps=5,6 names several"),
        ("nonsense", "'nonsense' is no setting"),
    ],
)
def test_bad_words_end_in_one_sentence(word: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_bench(["dataset=hopper-medium", word], "smoke")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ".." not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("discount", 1.5, "between 0 and 1"),
        ("critic_hidden", [], "at least one layer"),
        ("temperature_learning_rate", float("inf"), "finite"),
        ("multiplier_learning_rate", -1.0, "at least 0"),
        ("target_entropy", float("nan"), "finite"),
        ("cql_temperature", 0.0, "positive"),
        ("max_gradient_norm", 0.0, "positive"),
        ("last_layer_gain", 0.0, "positive"),
        ("name", "", "empty"),
        ("variant", "X", "H or rho"),
    ],
)
def test_settings_that_make_no_sense_are_refused(key: str, value: object, word: str) -> None:
    config = copy.deepcopy(plain("smoke").config)
    check(config)
    setattr(config.algorithm, key, value)
    with pytest.raises(ConfigError, match=word) as caught:
        check(config)
    assert key in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("conservative_weight", 0.0, "raise the weight"),
        ("variant", "rho", "leave out"),
        ("discount", 1.0, "below 1"),
    ],
)
def test_cal_ql_refuses_what_it_makes_no_sense_with(key: str, value: object, word: str) -> None:
    words = ["dataset=x", "algorithm=calql", "algorithm.sparse_rewards=true"]
    config = compose_bench(words, "smoke").config
    assert config.algorithm.sparse_rewards
    setattr(config.algorithm, key, value)
    with pytest.raises(ConfigError, match=word):
        check(config)


def test_an_algorithm_is_chosen_by_name_and_has_keys_of_its_own() -> None:
    words = ["dataset=x", "algorithm=sac", "algorithm.backup_entropy=false"]
    composed = compose_bench(words, "smoke", "d4rl-antmaze")
    assert composed.config.algorithm == SACConfig(
        actor_hidden=[32, 32], critic_hidden=[32, 32], batch_size=64, backup_entropy=False
    )
    assert (composed.changes, composed.algorithm) == (tuple(words[1:]), "sac")
    with pytest.raises(ConfigError, match="for algorithm=calql or cql, and this is sac"):
        compose_bench([*words, "algorithm.conservative_weight=2"], "smoke")
    calibrated = compose_bench(["dataset=x", "algorithm=calql"], "smoke", "d4rl-antmaze").config.algorithm
    without = {"name": "cql", "calibrated": False, "sparse_rewards": False}
    without |= {"orthogonal_actor": False, "last_layer_gain": 0.01}
    plain = compose_bench(["dataset=x"], "smoke", "d4rl-antmaze").config.algorithm
    assert vars(calibrated) | without == vars(plain)


def test_a_dataset_is_needed() -> None:
    with pytest.raises(ConfigError, match="No dataset was named"):
        compose_bench(["seeds=2"], "smoke")


def test_every_field_is_reachable() -> None:
    config = asdict(compose_bench(["dataset=x"], "smoke").config)
    words = []
    for name, value in config["algorithm"].items():
        text = "null" if value is None else str(value).lower() if isinstance(value, bool) else value
        words.append(f"algorithm.{name}={text}")
    again = compose_bench(["dataset=x", *words], "smoke")
    assert asdict(again.config) == config
    assert again.changes == ()


def test_settings_may_change_with_the_first_frame(capfd) -> None:
    words = ["dataset=x", "online.algorithm.conservative_weight=2"]
    config = compose_bench(words, "smoke", online=True).config
    assert config.online.algorithm == {"conservative_weight": 2.0}
    old = compose_bench(["dataset=x", "online.conservative_weight=2"], "smoke", online=True).config
    assert old == config
    assert "online.algorithm.conservative_weight" in capfd.readouterr().err
    with pytest.raises(ConfigError, match="cannot change"):
        compose_bench(["dataset=x", "online.algorithm.critics=3"], "smoke", online=True)
    words = ["dataset=x", "algorithm=rebrac", "online.algorithm.decay_start=7"]
    named = compose_bench(words, "paper", "d4rl-antmaze", online=True).config
    assert named.online.algorithm["decay_start"] == 7, "which the preset says too"
    for bad in ("conservative_weight=-1", "conservative_weight=heavy", "weight=1"):
        with pytest.raises(ConfigError, match=r"online\.algorithm"):
            compose_bench(["dataset=x", f"online.algorithm.{bad}"], "smoke", online=True)
