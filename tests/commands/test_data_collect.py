"""`cqlbench data collect`: a policy in, a file out, or one sentence."""

from pathlib import Path

import pytest

from cqlbench.commands.main import main
from cqlbench.data.readers.d4rl import read_d4rl

WORDS = ["policy=hopper-medium-v0", "env=Hopper-v4", "steps=200"]


def test_the_same_words_give_the_same_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        assert main(["data", "collect", *WORDS, f"output={tmp_path / name}.hdf5"]) == 0
    assert main(["data", "collect", *WORDS, "seed=1", f"output={tmp_path / 'c'}.hdf5"]) == 0
    first, again, other = (read_d4rl(tmp_path / f"{name}.hdf5") for name in "abc")
    assert len(first) == 200
    assert (first.observations == again.observations).all()
    assert (first.observations != other.observations).any()
    shown = capsys.readouterr().out
    assert "Collected 200 transitions in 40 episodes, of which 40 were cut off" in shown
    assert "more steps" in shown


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (WORDS[1:], "required: --policy"),
        (WORDS, "Say where the dataset goes"),
        ([*WORDS, "steps=0", "output=x.hdf5"], "--steps: '0'"),
        ([*WORDS, "limit=0", "output=x.hdf5"], "--limit: '0'"),
        ([*WORDS, "steps=99999999999999", "output=x.hdf5"], "do not fit into memory"),
        ([*WORDS, "minari=bad"], "<namespace>/<name>-v<number>"),
        ([*WORDS, "colour=red"], "'colour' (choose from policy=, "),
        ([*WORDS, "env=Walker2d-v4", "output=x.hdf5"], "does not fit"),
        ([*WORDS, "policy=hoper", "output=x.hdf5"], "'hoper' (choose from hopper-"),
    ],
)
def test_mistakes_are_one_sentence(words: list[str], sentence: str, capsys) -> None:
    assert main(["data", "collect", *words]) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
    assert not Path("x.hdf5").exists()
