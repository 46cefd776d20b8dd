"""An unknown key is told what it is called here."""

import re

import pytest

from cqlbench.core.errors import ConfigError
from cqlbench.experiments.key_names import aliases, check_key, group_choices, known_keys


@pytest.fixture(scope="module")
def keys() -> dict[str, list[str]]:
    """Algorithm to the keys that its runs take."""
    return {name: known_keys(name) for name in group_choices("algorithm")}


@pytest.mark.parametrize("alias", aliases())
def test_an_alias_leads_to_keys_that_can_be_set_and_is_none_itself(
    alias: str, keys: dict[str, list[str]]
) -> None:
    named = [re.split("[ =]", text)[0] for text in aliases()[alias].split(" or ")]
    for key in named:
        assert any(key in each for each in keys.values())
    algorithm = next(name for name in ("cql", *keys) if set(named) & set(keys[name]))
    assert all(alias not in each for each in keys.values())
    with pytest.raises(ConfigError, match=f"'{alias}'") as caught:
        check_key(f"{alias}=1", algorithm)
    for key in named:
        assert (key in str(caught.value)) == (key in keys[algorithm])


@pytest.mark.parametrize(
    ("algorithm", "alias", "named"),
    [
        ("cql", "alpha", "algorithm.conservative_weight here"),
        ("td3_bc", "alpha", "algorithm.value_weight here"),
        ("iql", "algorithm.beta", "algorithm.inverse_temperature here"),
        ("iql", "iql_tau", "algorithm.expectile here"),
        ("iql", "lr", "algorithm.actor_learning_rate or algorithm.critic_learning_rate here"),
        ("awac", "lr", "algorithm.learning_rate here"),
        ("bc10", "frac", "algorithm.fraction here"),
        ("rebrac", "actor_bc_coef", "algorithm.actor_cloning_weight here"),
        ("edac", "num_critics", "algorithm.critics here"),
        ("cql", "eta", "algorithm.diversity_weight of algorithm=edac or sac_n here"),
        ("rebrac", "policy_nois", "'algorithm.policy_noise'"),
    ],
)
def test_an_alias_is_that_of_the_runs_algorithm(algorithm: str, alias: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_key(f"{alias}=1", algorithm)
    assert named in str(caught.value)


@pytest.mark.parametrize(("override", "words"), [("seed=3", "seeds=[3]"), ("initial_alpha=1.0", "logarithm")])
def test_a_value_that_means_something_else_here_is_told(override: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_key(override, "cql")
    assert words in str(caught.value)


def test_what_cannot_be_set_is_no_ones_hint() -> None:
    with pytest.raises(ConfigError) as caught:
        check_key("optimizers=adam", "cql")
    assert "trainer.optimizer" not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be set"):
        check_key("trainer.optimizer=adam", "cql")


@pytest.mark.parametrize("key", ["plots", "online.algorithm.nope", "algorithm.x"])
def test_a_key_like_no_other_has_no_nearest(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_key(f"{key}=1", "cql")
    assert str(caught.value) == f"Unknown key '{key}'."
