"""Presets against the configs they were taken from."""

import csv
import functools
import itertools
import math
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from torch import nn

from cqlbench.algorithms import algorithm_of
from cqlbench.algorithms.algorithm import Spaces
from cqlbench.algorithms.networks import ActionBox, mlp
from cqlbench.algorithms.step import initial_state
from cqlbench.core.paths import benchmarks_dir
from cqlbench.data.cards import all_cards
from cqlbench.data.resolve import find_card
from cqlbench.experiments.compose import compose_bench

GOLDEN = Path(__file__).parents[1] / "golden"


def rows(name):
    with (GOLDEN / name).open(encoding="utf-8") as lines:
        return list(csv.DictReader(line for line in lines if not line.startswith("#")))


ROWS, CALQL_ROWS, BASELINE_ROWS = rows("corl_cql.csv"), rows("corl_calql.csv"), rows("corl_baselines.csv")

SAME = {
    "batch_size": "batch_size",
    "discount": "discount",
    "polyak_rate": "tau",
    "actor_learning_rate": "actor_lr",
    "critic_learning_rate": "critic_lr",
    "temperature_learning_rate": "temp_lr",
    "multiplier_learning_rate": "alpha_prime_lr",
    "conservative_weight": "cql_weight",
    "proposals": "cql_n_actions",
    "cql_temperature": "cql_temp",
    "target_action_gap": "target_action_gap",
    "bc_steps": "bc_steps",
}
SWITCHES = {
    "lagrange": "lagrange",
    "max_q_backup": "max_target_backup",
    "backup_entropy": "backup_entropy",
    "normalize_observations": "normalize_state",
}


@functools.cache
def composed(preset, *words, name=""):
    return compose_bench(["dataset=any", *words], "paper", preset, name=name).config


@functools.cache
def unresolved(preset, algorithm):
    words = ["dataset=any", "budget=paper", f"preset={preset}", f"algorithm={algorithm}"]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(benchmarks_dir()), version_base="1.3"):
        return compose("bench", words)


def of_dataset(row, algorithm):
    """What `compose_bench` gives, composed once for all datasets of a preset."""
    card = find_card(f"d4rl/{row['dataset']}")
    config = unresolved(card.preset, algorithm)
    config.protocol.dataset = row["dataset"]
    return card, OmegaConf.to_object(config)


def assert_published(row, card, config):
    algorithm = config.algorithm
    assert {ours: float(getattr(algorithm, ours)) for ours in SAME} == {
        ours: float(row[theirs]) for ours, theirs in SAME.items()
    }
    assert {ours: getattr(algorithm, ours) for ours in SWITCHES} == {
        ours: row[theirs].lower() == "true" for ours, theirs in SWITCHES.items()
    }
    budget = config.budget
    assert (budget.steps, budget.evaluation_interval, budget.evaluation_episodes) == (
        int(row["steps"]),
        int(row["eval_freq"]),
        int(row["eval_episodes"]),
    )
    width, _, depth = row["critic_hidden"].partition("x")
    assert algorithm.critic_hidden == [int(width)] * int(depth)
    lowest = float(row["clip_diff_min"].replace(".inf", "inf"))
    assert algorithm.gap_clip_min == (None if math.isinf(lowest) else lowest)
    # CORL's modify_reward runs with normalize_reward only, and divides by the range on gym tasks only.
    modified = row["normalize_reward"].lower() == "true"
    assert algorithm.normalize_rewards == (modified and card.family == "gym-mujoco")
    assert algorithm.reward_scale == (float(row["reward_scale"]) if modified else 1.0)
    assert algorithm.reward_bias == (float(row["reward_bias"]) if modified else 0.0)


def test_a_preset_is_the_published_config():
    for row in ROWS:
        card, config = of_dataset(row, "cql")
        assert_published(row, card, config)
        assert (config.algorithm.name, config.algorithm.calibrated) == ("cql", False), row


def test_what_a_preset_has_for_cal_ql_is_the_published_config():
    for row in CALQL_ROWS:
        card, config = of_dataset(row, "calql")
        assert_published(row, card, config)
        assert (config.algorithm.name, config.algorithm.calibrated) == ("calql", True), row
        assert config.algorithm.sparse_rewards == (row["is_sparse_reward"] == "true"), row


COMMON = {
    "batch_size": "batch_size",
    "discount": "discount gamma",
    "polyak_rate": "tau",
    "normalize_observations": "normalize normalize_states",
    "policy_noise": "policy_noise",
    "noise_clip": "noise_clip",
    "policy_period": "policy_freq",
    "learning_rate": "learning_rate",
    "actor_learning_rate": "actor_lr actor_learning_rate",
    "critic_learning_rate": "qf_lr critic_learning_rate",
}
BASELINES = {
    "bc": {"fraction": "frac"},
    "bc10": {"fraction": "frac"},
    "td3_bc": {"value_weight": "alpha", "exploration_noise": "expl_noise"},
    "iql": {
        "expectile": "iql_tau",
        "inverse_temperature": "beta",
        "deterministic": "iql_deterministic",
        "value_learning_rate": "vf_lr",
    },
    "awac": {"temperature": "awac_lambda"},
    "sac_n": {"critics": "num_critics", "temperature_learning_rate": "alpha_learning_rate"},
    "edac": {
        "critics": "num_critics",
        "temperature_learning_rate": "alpha_learning_rate",
        "diversity_weight": "eta",
    },
    "rebrac": {
        "actor_cloning_weight": "actor_bc_coef",
        "critic_cloning_weight": "critic_bc_coef",
        "layer_norm": "critic_ln",
        "normalize_values": "normalize_q",
    },
}
CLONING = ("bc", "bc10")


def value(text):
    return {"true": True, "false": False}.get(text.lower()) if text.isalpha() else float(text)


@pytest.mark.parametrize("name", BASELINES)
def test_a_baselines_presets_are_the_published_configs(name):
    rows = [row for row in BASELINE_ROWS if row["algorithm"] == name]
    assert rows
    for row in rows:
        assert_published_baseline(row)


def assert_published_baseline(row):
    name, corls = row["algorithm"], dict(each.split("=") for each in row["settings"].split())
    card, config = of_dataset(row, name)
    algorithm = config.algorithm
    expected = {
        ours: value(corls[theirs])
        for ours, names in (COMMON | BASELINES[name]).items()
        for theirs in names.split()
        if theirs in corls and not (name in CLONING and ours == "discount")
    }
    assert {ours: getattr(algorithm, ours) for ours in expected} == expected
    if "hidden_dim" in corls:
        assert algorithm.hidden == [int(corls["hidden_dim"])] * int(corls.get("critic_n_hiddens", 3))
    if name == "iql":
        assert algorithm.dropout == (0 if corls["actor_dropout"] == "None" else float(corls["actor_dropout"]))
        assert algorithm.decay_steps == config.budget.steps
    # `modify_reward` of the torch scripts; ReBRAC's `normalize_reward` multiplies antmaze's by 100.
    modified, antmaze = value(corls.get("normalize_reward", "false")), card.family == "antmaze"
    assert algorithm.normalize_rewards == (modified and card.family == "gym-mujoco")
    assert algorithm.reward_scale == (100 if modified and antmaze and name == "rebrac" else 1)
    assert algorithm.reward_bias == (-1 if modified and antmaze and name != "rebrac" else 0)
    epoch = int(corls.get("num_updates_on_epoch", 1))
    steps = corls.get("max_timesteps") or corls.get("num_train_ops") or corls["num_epochs"]
    every = corls.get("eval_freq") or corls.get("eval_frequency") or corls["eval_every"]
    episodes = corls.get("n_episodes") or corls.get("n_test_episodes") or corls["eval_episodes"]
    budget = config.budget
    assert (budget.steps, budget.evaluation_interval, budget.evaluation_episodes) == (
        float(steps) * epoch,
        float(every) * epoch,
        int(episodes),
    )


def test_a_dataset_whose_settings_nobody_published_is_told_from_its_family():
    (found,) = {row["dataset"] for row in ROWS if row["dataset"] == "hopper-expert-v2"}
    settings = composed("d4rl-gym", "algorithm=sac_n", name=found).protocol.settings
    assert settings
    assert found not in settings


def corls_layers(algorithm, network, sizes):
    """As `init_module_weights` of CORL's offline/cql.py and finetune/cal_ql.py leaves them."""
    layers = [nn.Linear(*pair) for pair in itertools.pairwise(sizes)]
    for layer in layers:
        last, calql = layer is layers[-1], algorithm == "calql"
        if network == "critics" or calql:
            nn.init.orthogonal_(layer.weight, gain=0.01 if last and not calql else 2**0.5)
        elif last:
            nn.init.xavier_uniform_(layer.weight, gain=0.01)
        if network == "critics" or calql or last:
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*itertools.chain.from_iterable((layer, nn.ReLU()) for layer in layers))[:-1]


@pytest.mark.parametrize("network", ["critics", "actor"])
@pytest.mark.parametrize("algorithm", ["calql", "cql"])
def test_networks_start_as_corls(algorithm, network):
    config = composed("", f"algorithm={algorithm}").algorithm
    inputs, outputs, seeds = (23, 1, 8) if network == "critics" else (17, 12, 8)
    box = ActionBox.from_bounds(-torch.ones(6), torch.ones(6))
    params = initial_state(algorithm_of(config, Spaces(17, box)), range(seeds)).parameters[network]
    if network == "critics":
        params = {name: tensor[:, 0] for name, tensor in params.items()}
    samples = torch.randn(4096, inputs, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        nets = [corls_layers(algorithm, network, [inputs, 256, 256, 256, outputs]) for _ in range(seeds)]
        corls = torch.stack([net(samples) for net in nets]).std(1).mean()
    assert corls > 0.1 if algorithm == "calql" else corls < 0.01
    assert mlp(params, samples.expand(seeds, -1, -1)).std(1).mean() == pytest.approx(corls.item(), rel=0.15)


@pytest.mark.parametrize("preset", [path.stem for path in (benchmarks_dir() / "preset").glob("*.yaml")])
@pytest.mark.parametrize("budget", ["gate", "paper"])
def test_soft_actor_critic_stays_so_under_every_preset_and_budget(preset, budget):
    algorithm = composed(preset, "algorithm=sac", f"budget={budget}").algorithm
    assert algorithm == composed("none", "algorithm=sac", f"budget={budget}").algorithm
    assert (algorithm.name, algorithm.backup_entropy) == ("sac", True)


def test_soft_actor_critics_rates_and_sizes_are_the_papers():
    algorithm = composed("", "algorithm=sac").algorithm
    for network in ("actor", "critic", "temperature"):
        assert getattr(algorithm, f"{network}_learning_rate") == 3e-4
    assert algorithm.actor_hidden == algorithm.critic_hidden == [256, 256]


def test_what_stands_for_one_algorithm_is_found_by_its_name():
    # A misspelt file would be skipped in silence: they are optional.
    names = {
        group: {path.stem for path in (benchmarks_dir() / group).glob("*.yaml")}
        for group in ("algorithm", "preset", "preset/by_algorithm", "budget", "budget/by_algorithm")
    }
    for group in ("preset", "budget"):
        pairs = {f"{name}-{algorithm}" for name in names[group] for algorithm in names["algorithm"]}
        assert names[f"{group}/by_algorithm"] <= pairs


def test_every_published_config_is_a_cards_preset_and_no_other_card_has_one():
    published = {f"d4rl/{row['dataset']}" for row in ROWS}
    assert len(published) == 42
    assert {card.id for card in all_cards().values() if card.preset and card.source == "d4rl"} == published
