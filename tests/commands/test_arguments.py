"""`key=value` words, and what is said of mistaken ones."""

import pytest

from cqlbench.commands.arguments import choices, truth, values_of, whole
from cqlbench.core.errors import ConfigError
from cqlbench.core.text import counted


def test_words_become_a_dictionary_and_the_last_one_counts() -> None:
    assert values_of(["a=1", "b=x=y", "a=2"], "speed", ("a", "b")) == {"a": "2", "b": "x=y"}


@pytest.mark.parametrize("word", ["c=1", "a", "a="])
def test_other_words_are_one_sentence(word: str) -> None:
    with pytest.raises(ConfigError, match=rf"^'{word}' is not understood; speed takes a=, b=\.$"):
        values_of([word], "speed", ("a", "b"))
    with pytest.raises(ConfigError, match=r"speed takes a=FOLDER\.$"):
        values_of([word], "speed", ("a", "b"), "a=FOLDER")


def test_yes_and_no() -> None:
    assert truth({"a": "true"}, "a")
    assert not truth({"a": "false"}, "a", default=True)
    assert truth({}, "a", default=True)
    assert not truth({}, "a")
    with pytest.raises(ConfigError, match="a=maybe must be true or false"):
        truth({"a": "maybe"}, "a")


def test_whole_numbers() -> None:
    assert whole({"a": "7"}, "a", 1) == 7
    assert whole({}, "a", 3) == 3
    for text in ("0", "-1", "1.5", "x", "²"):
        with pytest.raises(ConfigError, match=f"a={text} must be a whole number of at least 1"):
            whole({"a": text}, "a", 1)


def test_what_could_have_been_meant() -> None:
    assert choices("hoper", ["walker", "hopper"]) == "did you mean 'hopper'?"
    assert choices("xyz", ["walker", "hopper"]) == "there is hopper, walker."


def test_numbers_of_things() -> None:
    assert [counted(number, "seed") for number in (0, 1, 1200)] == ["0 seeds", "1 seed", "1,200 seeds"]
