"""An unknown key is told what it is called here."""

import pytest

from cqlbench.errors import ConfigError
from cqlbench.key_names import aliases, check_key, known_keys


@pytest.mark.parametrize("alias", aliases())
def test_an_alias_leads_to_keys_that_can_be_set_and_is_none_itself(alias: str) -> None:
    assert alias not in known_keys()
    for key in aliases()[alias].split(" or "):
        assert key in known_keys()
    with pytest.raises(ConfigError, match=f"'{alias}'.* it is {aliases()[alias]} here"):
        check_key(f"{alias}=1")


def test_what_cannot_be_set_is_no_ones_hint() -> None:
    with pytest.raises(ConfigError) as caught:
        check_key("optimizers=adam")
    assert "trainer.optimizer" not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be set"):
        check_key("trainer.optimizer=adam")
