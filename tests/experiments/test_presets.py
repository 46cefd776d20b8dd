"""Presets against the configs they were taken from."""

import csv
import functools
import itertools
import math
from dataclasses import replace
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
FINE_TUNING_ROWS = rows("corl_finetune.csv")

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
def unresolved(preset, algorithm, online="none"):
    words = f"dataset=any budget=paper preset={preset} algorithm={algorithm} online={online}".split()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(benchmarks_dir()), version_base="1.3"):
        return compose("bench", words)


def of_dataset(row, algorithm, online="none"):
    """What `compose_bench` gives, composed once for all datasets of a preset."""
    card = find_card(f"d4rl/{row['dataset']}")
    config = unresolved(card.preset, algorithm, online)
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
    "learning_rate": "learning_rate",
    "actor_learning_rate": "actor_lr actor_learning_rate",
    "critic_learning_rate": "qf_lr critic_learning_rate",
}
CQL = {
    "actor_learning_rate": "policy_lr",
    "temperature_learning_rate": "policy_lr",
    "multiplier_learning_rate": "qf_lr",
    "polyak_rate": "soft_target_update_rate",
    "target_update_period": "target_update_period",
    "entropy_multiplier": "alpha_multiplier",
    "learn_entropy_temperature": "use_automatic_entropy_tuning",
    "orthogonal_critics": "orthogonal_init",
    "backup_entropy": "backup_entropy",
    "bc_steps": "bc_steps",
    "conservative_weight": "cql_alpha",
    "importance_sampled": "cql_importance_sample",
    "lagrange": "cql_lagrange",
    "max_q_backup": "cql_max_target_backup",
    "proposals": "cql_n_actions",
    "target_action_gap": "cql_target_action_gap",
    "cql_temperature": "cql_temp",
}
SMOOTHED = {"policy_noise": "policy_noise", "noise_clip": "noise_clip", "policy_period": "policy_freq"}
BASELINES = {
    "bc": {"fraction": "frac"},
    "bc10": {"fraction": "frac"},
    "td3_bc": SMOOTHED | {"value_weight": "alpha", "exploration_noise": "expl_noise"},
    "iql": {
        "expectile": "iql_tau",
        "inverse_temperature": "beta",
        "deterministic": "iql_deterministic",
        "value_learning_rate": "vf_lr",
        "exploration_noise": "expl_noise",
    },
    "awac": {"temperature": "awac_lambda"},
    "sac_n": {"critics": "num_critics", "temperature_learning_rate": "alpha_learning_rate"},
    "edac": {
        "critics": "num_critics",
        "temperature_learning_rate": "alpha_learning_rate",
        "diversity_weight": "eta",
    },
    "rebrac": SMOOTHED
    | {
        "actor_cloning_weight": "actor_bc_coef",
        "critic_cloning_weight": "critic_bc_coef",
        "layer_norm": "critic_ln",
        "normalize_values": "normalize_q",
    },
    "dt": {
        "max_gradient_norm": "clip_grad",
        "embedding_size": "embedding_dim",
        "blocks": "num_layers",
        "heads": "num_heads",
        "context": "seq_len",
        "episode_length": "episode_len",
        "target_return": "target_returns",
        **{
            name: name
            for name in (
                "attention_dropout",
                "residual_dropout",
                "embedding_dropout",
                "warmup_steps",
                "weight_decay",
            )
        },
    },
}
NAMES = BASELINES | {"cql": CQL, "calql": CQL}
CLONING, FINE_TUNED = ("bc", "bc10"), ("awac", "calql", "cql", "iql", "rebrac")


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
    assert_corls(name, corls, card, config)
    epoch = int(corls.get("num_updates_on_epoch", 1))
    steps = first_of(corls, "max_timesteps", "num_train_ops", "update_steps", "num_epochs")
    assert config.budget.steps == float(steps) * epoch
    assert config.budget.evaluation_interval == float(first_of(corls, *EVERY)) * epoch


EVERY = ("eval_freq", "eval_frequency", "eval_every")


def first_of(settings, *names):
    return next(settings[name] for name in names if name in settings)


def assert_corls(name, corls, card, config):
    algorithm = config.algorithm
    expected = {
        ours: value(corls[theirs])
        for ours, names in (COMMON | NAMES[name]).items()
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
    scale, bias = (100, 0) if name == "rebrac" else (1, -1)
    scale, bias = float(corls.get("reward_scale", scale)), float(corls.get("reward_bias", bias))
    changed = (modified and antmaze) or name == "dt"
    assert algorithm.reward_scale == (scale if changed else 1)
    assert algorithm.reward_bias == (bias if modified and antmaze else 0)
    episodes = first_of(corls, "n_episodes", "n_test_episodes", "eval_episodes")
    assert config.budget.evaluation_episodes == int(episodes)


@pytest.mark.parametrize("name", FINE_TUNED)
def test_fine_tuning_by_the_paper_budget_is_the_published_config(name):
    rows = [row for row in FINE_TUNING_ROWS if row["algorithm"] == name]
    assert len(rows) == 10
    for row in rows:
        assert_fine_tuning(row)


def assert_fine_tuning(row):
    name, corls = row["algorithm"], dict(each.split("=") for each in row["settings"].split())
    card, config = of_dataset(row, name, "paper")
    assert_corls(name, corls, card, config)
    budget, online, algorithm = config.budget, config.online, config.algorithm
    assert budget.steps == float(first_of(corls, "offline_iterations", "num_offline_updates"))
    assert online.frames == float(first_of(corls, "online_iterations", "num_online_updates"))
    every = float(first_of(corls, *EVERY))
    assert (budget.evaluation_interval, online.evaluation_interval) == (every, every)
    assert (online.steps_per_batch, online.environments, online.frames_per_batch) == (1, 1, 0)
    # Where CORL has no mixing_ratio, what is collected is added to the dataset.
    assert online.offline_fraction == (float(corls["mixing_ratio"]) if "mixing_ratio" in corls else None)
    assert (online.final_offline_fraction, online.random_frames) == (None, 0)
    assert config.protocol.fine_tuning
    if name in ("cql", "calql"):
        assert float(corls["cql_alpha_online"]) == algorithm.conservative_weight
        assert algorithm.critic_hidden == [256] * int(corls["q_n_hidden_layers"])
        assert algorithm.actor_hidden == [256] * 3
        assert (algorithm.gap_clip_min, algorithm.gap_clip_max) == (float(corls["cql_clip_diff_min"]), None)
        assert algorithm.orthogonal_actor
        assert algorithm.last_layer_gain == 2**0.5
        assert algorithm.calibrated == (name == "calql")
        assert algorithm.sparse_rewards == value(corls.get("is_sparse_reward", "false"))
        assert online.algorithm == {}
    if name == "rebrac":  # as its script goes on
        decay = {"cloning_floor": float(corls["min_decay_coef"]), "decay_start": 1e6, "decay_steps": 1e6}
        assert online.algorithm == {"critic_cloning_weight": 0} | decay
        assert algorithm.cloning_floor == 1


@pytest.mark.parametrize("algorithm", FINE_TUNED)
def test_adroit_is_fine_tuned_on_the_cloned_datasets_only(algorithm):
    found = [
        of_dataset({"dataset": name}, algorithm, "paper")[1].protocol.fine_tuning
        for name in ("pen-cloned-v1", "pen-human-v1")
    ]
    assert found == [True, False]


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
    usual = composed("none", "algorithm=sac", f"budget={budget}").algorithm
    for_all = OmegaConf.load(benchmarks_dir() / "preset" / f"{preset}.yaml").get("algorithm", {})
    assert set(for_all) <= {"discount", "reward_bias"}  # of a task, whatever the algorithm is
    assert algorithm == replace(usual, **for_all)
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
        for group in (
            "algorithm", "preset", "preset/by_algorithm", "preset/by_online", "budget", "budget/by_algorithm",
            "online",
        )
    }  # fmt: skip
    for group in ("preset", "budget"):
        pairs = {f"{name}-{algorithm}" for name in names[group] for algorithm in names["algorithm"]}
        assert names[f"{group}/by_algorithm"] <= pairs
    tails = names["preset"] | names["preset/by_algorithm"]
    assert names["preset/by_online"] <= {f"{name}-{tail}" for name in names["online"] for tail in tails}


def test_every_published_config_is_a_cards_preset_and_no_other_card_has_one():
    published = {f"d4rl/{row['dataset']}" for row in ROWS}
    assert len(published) == 42
    assert {card.id for card in all_cards().values() if card.preset and card.source == "d4rl"} == published
