"""An unknown key is told what it is called here."""

import re

import pytest

from cqlbench.core.errors import ConfigError
from cqlbench.experiments.key_names import aliases, check_key, known_keys


@pytest.mark.parametrize("alias", aliases())
def test_an_alias_leads_to_keys_that_can_be_set_and_is_none_itself(alias: str) -> None:
    assert alias not in known_keys("cql")
    for text in aliases()[alias].split(" or "):
        assert re.split("[ =]", text)[0] in known_keys("cql")
    with pytest.raises(ConfigError, match=f"'{alias}'") as caught:
        check_key(f"{alias}=1", "cql")
    assert f"it is {aliases()[alias].format(value=1)} here" in str(caught.value)


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
