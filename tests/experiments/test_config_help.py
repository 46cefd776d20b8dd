"""The help is what the dataclasses and `benchmarks/` say."""

import dataclasses
import re

from cqlbench.algorithms.cql import CQLConfig
from cqlbench.experiments.config import BenchConfig, BudgetConfig
from cqlbench.experiments.config_help import attributes, keys_help
from cqlbench.trainer.config import CQLTrainerConfig


class Documented:
    """Something.

    Attributes:
        first: of several
            lines.
        second: of `code`: and colons.

    Raises:
        nothing: at all.
    """


def test_attributes_are_read_off_the_documentation() -> None:
    assert attributes(Documented) == {"first": "of several lines.", "second": "of `code`: and colons."}


def test_every_field_has_a_meaning() -> None:
    for cls in (BenchConfig, BudgetConfig, CQLConfig, CQLTrainerConfig):
        fields = {field.name for field in dataclasses.fields(cls)} - {"_target_"}
        assert fields == set(attributes(cls)), cls


def test_help_shows_each_key_its_meaning_and_its_default() -> None:
    text = keys_help("cql")
    shown = set(re.findall(r"^  ([\w.]+)=", text, re.MULTILINE))
    trainer = {f"trainer.{field.name}" for field in dataclasses.fields(CQLTrainerConfig)} - {
        "trainer._target_"
    }
    assert trainer < shown
    assert {"dataset", "seeds", "algorithm.conservative_weight", "budget.steps"} < shown
    assert "algorithm.conservative_weight=  [10.0]\n        factor of the gap" in text
    assert "trainer.log_interval=  [that of budget.evaluation_interval]" in text
    assert "trainer.offline_steps=  (not to be set: budget.steps decides it)" in text
    assert "MISSING" not in text
    assert "???" not in text
    assert max(map(len, text.splitlines())) <= 110
