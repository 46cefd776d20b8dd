"""What is decided before the data are touched."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from cqlbench.algorithms import ALGORITHMS
from cqlbench.algorithms.algorithm import added
from cqlbench.algorithms.cql import CQLConfig
from cqlbench.core.devices import device_of
from cqlbench.core.errors import ConfigError, DatasetError
from cqlbench.data.cards import all_cards
from cqlbench.data.resolve import Resolution, find_card
from cqlbench.experiments.compose import compose_bench
from cqlbench.experiments.plan import Plan, identity_of, make_plan
from cqlbench.records.schema import config_hash
from cqlbench.trainer.initial_checkpoint import SavedStart

HOPPER = Resolution("x", find_card("embedded/hopper-medium-v0"), "")
PLAN = Plan(compose_bench(["dataset=x"], "smoke").config, HOPPER, torch.device("cpu"), "", "", ())


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CQLBENCH_OFFLINE", "1")
    monkeypatch.setenv("CQLBENCH_CACHE", str(tmp_path))


def pretend_to_have_d4rl(monkeypatch) -> None:
    monkeypatch.setattr("cqlbench.data.resolve._located", lambda card, reason: resolution(card, reason))


def resolution(card, reason):
    return Resolution(card.id, card, reason)


def test_a_published_run_is_comparable_until_something_is_changed(monkeypatch) -> None:
    pretend_to_have_d4rl(monkeypatch)
    words = ["dataset=d4rl/hopper-medium-v2", "budget=paper"]
    plan = make_plan(words)
    assert plan.incomparable_because == ""
    assert plan.config.algorithm.normalize_rewards, "CORL's hopper-medium has a preset of its own"
    assert "algorithm.batch_size=32" in make_plan([*words, "algorithm.batch_size=32"]).incomparable_because
    assert "budget.steps=5" in make_plan([*words, "steps=5"]).incomparable_because
    assert "preset none" in make_plan([*words, "preset=none"]).incomparable_because
    named = make_plan([*words, "algorithm.batch_size=256", "steps=1000000", "online.frames=0"])
    assert (named.incomparable_because, named.identity) == ("", plan.identity)
    assert named.arguments == plan.arguments
    assert "budget quick" in make_plan([words[0], "budget=quick"]).incomparable_because


def test_an_algorithm_for_other_actions_is_refused_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_to_have_d4rl(monkeypatch)
    words = ["dataset=minari/D4RL/minigrid/fourrooms-v0", "algorithm=td3_bc"]
    with pytest.raises(ConfigError, match="td3_bc is not for discrete actions"):
        make_plan(words)
    assert not list(tmp_path.iterdir())


def test_d4rl_data_are_comparable_only_with_published_settings() -> None:
    unpublished = make_plan(["dataset=d4rl/hopper-medium-v1", "budget=paper"])
    assert unpublished.incomparable_because == "no settings of cql were published for it"


@pytest.mark.parametrize(
    ("dataset", "reason"),
    [
        ("d4rl/hammer-expert-v1", "100"),
        ("d4rl/maze2d-umaze-v0", "another revision"),
        ("d4rl/pen-human-v1", ""),
        ("d4rl/door-cloned-v1", ""),
        ("d4rl/relocate-expert-v1", ""),
        ("d4rl/maze2d-umaze-v1", ""),
    ],
)
def test_a_task_that_is_not_d4rls_is_not_comparable(dataset, reason) -> None:
    assert reason in find_card(dataset).incomparable_because
    assert bool(reason) == bool(find_card(dataset).incomparable_because)
    assert reason in make_plan([f"dataset={dataset}", "budget=paper"]).incomparable_because


@pytest.mark.parametrize(
    ("dataset", "algorithm", "reason"),
    [
        ("antmaze-umaze-v2", "calql", "settings of calql that were published for fine-tuning"),
        ("antmaze-umaze-v2", "iql", ""),
        ("hopper-medium-v2", "cql", ""),
        ("hopper-medium-v2", "calql", "no settings of calql were published for it"),
        ("antmaze-umaze-v2", "sac", "no settings of sac were published for it"),
    ],
)
def test_an_algorithm_is_comparable_with_its_own_published_settings(
    monkeypatch, dataset: str, algorithm: str, reason: str
) -> None:
    pretend_to_have_d4rl(monkeypatch)
    words = [f"dataset=d4rl/{dataset}", "budget=paper", f"algorithm={algorithm}"]
    plan = make_plan(words)
    assert not plan.resolution.card.incomparable_because
    assert plan.incomparable_because == reason
    assert make_plan(plan.arguments[1:]).identity == plan.identity
    assert plan.config.algorithm.name == algorithm
    assert "algorithm.discount=0.9" in make_plan([*words, "algorithm.discount=0.9"]).incomparable_because


@pytest.mark.parametrize("algorithm", ["awac", "calql", "cql", "iql", "rebrac"])
def test_fine_tuning_is_comparable_where_corl_fine_tunes(monkeypatch, algorithm: str) -> None:
    pretend_to_have_d4rl(monkeypatch)
    words = ["budget=paper", f"algorithm={algorithm}", "device=cpu"]
    plan = make_plan(["dataset=d4rl/antmaze-umaze-v2", *words], online=True)
    assert plan.incomparable_because == ""
    assert make_plan(plan.arguments[1:], online=True).identity == plan.identity
    assert make_plan(["dataset=d4rl/pen-cloned-v1", *words], online=True).incomparable_because == ""
    human = make_plan(["dataset=d4rl/pen-human-v1", *words], online=True)
    assert "not CORL's" in human.incomparable_because


def test_settings_go_by_the_steps_that_a_saved_trainer_has_taken(monkeypatch) -> None:
    start = SavedStart(Path("saved.pt"), 70, "digest", {})
    monkeypatch.setattr(SavedStart, "read", lambda path: start)
    words = ["dataset=hopper-medium", "source=embedded", "algorithm=iql", "online.start=saved.pt"]
    plan = make_plan([*words, "budget=quick", "device=cpu"], online=True)
    assert (plan.config.budget.steps, plan.config.algorithm.decay_steps) == (70, 70)
    assert make_plan(plan.arguments[1:], online=True).identity == plan.identity
    with pytest.raises(ConfigError, match=r"steps=7 .* 70 of online\.start"):
        make_plan([*words, "steps=7"], online=True)


def test_embedded_data_are_never_comparable() -> None:
    plan = make_plan(["dataset=hopper-medium", "source=embedded", "budget=paper"])
    assert "embedded data" in plan.incomparable_because


def test_the_budget_follows_the_device_that_trains(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    words = ["dataset=hopper-medium", "source=embedded"]
    assert make_plan(words).config.budget.name == "paper"
    assert make_plan([*words, "device=cpu"]).config.budget.name == "quick"
    assert make_plan([*words, "budget=smoke"]).config.budget.name == "smoke"


def test_its_arguments_make_the_same_plan_again() -> None:
    plan = make_plan(["dataset=hopper-medium", "seeds=2", "steps=7", "algorithm.discount=0.9"])
    assert plan.arguments[0] == "bench"
    assert "dataset=embedded/hopper-medium-v0" in plan.arguments
    again = make_plan(plan.arguments[1:])
    assert again.arguments == plan.arguments
    assert again.identity == plan.identity
    assert again.config.seeds == [0, 1]
    renamed = make_plan(["dataset=hopper-medium", "budget=quick", "budget.name=mine"])
    assert make_plan(renamed.arguments[1:]).identity == renamed.identity


GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "config_hashes.json").read_text())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_hash_of_a_configuration_changes(algorithm: str) -> None:
    """A new key is `added`, with a default that computes what was computed without it."""
    golden = {name: value for name, value in GOLDEN.items() if name.split()[1] == algorithm}
    found = {}
    for name in golden:
        case, _, budget, *online = name.split()
        preset, _, dataset = case.partition(":")
        words = ["dataset=x", f"algorithm={algorithm}", f"budget={budget}"]
        config = compose_bench(words, budget, preset, online=bool(online), name=dataset).config
        found[name] = config_hash(replace(PLAN, config=config).identity)
    assert found == golden


def test_every_algorithm_and_preset_has_its_hashes() -> None:
    assert {name.split()[1] for name in GOLDEN} == set(ALGORITHMS)
    presets = {name.split()[0].partition(":")[0] for name in GOLDEN}
    assert {card.preset for card in all_cards().values() if card.preset} <= presets


def test_an_added_key_is_in_no_hash_until_it_is_set() -> None:
    @dataclass
    class Grown(CQLConfig):
        fresh: float = added(1.0)

    assert identity_of(Grown()) == identity_of(CQLConfig())
    assert identity_of(Grown(fresh=2.0)) == identity_of(CQLConfig()) | {"fresh": 2.0}


@pytest.mark.parametrize("name", ["toaster", "meta", "cuda:99", "cpu:1"])
def test_devices_that_are_not_there_are_refused_before_the_dataset(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        make_plan(["dataset=no-such-dataset", f"device={name}"])


def test_auto_is_a_device_that_is_here() -> None:
    torch.empty(0, device=device_of("auto"))


@pytest.mark.parametrize("name", ["", "~nobody-here/x.hdf5", "x" * 300, "hoper-medium"])
def test_bad_dataset_words_are_one_sentence(name: str) -> None:
    with pytest.raises((ConfigError, DatasetError)) as caught:
        make_plan([f"dataset={name}", "budget=smoke"])
    assert "\n" not in str(caught.value)
