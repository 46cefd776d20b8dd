"""A run computes on as many threads as were asked for, and its numbers are the same on any."""

import json

import pytest
import torch

from cqlbench.core import threads
from cqlbench.core.errors import ConfigError
from cqlbench.core.threads import threads_of, usable_cores
from cqlbench.engine.engine import Engine


def test_a_number_of_threads_is_one_that_the_cores_allow() -> None:
    assert threads_of("auto") is None
    assert threads_of("1") == 1
    assert threads_of(str(usable_cores())) == usable_cores()
    for name in ("0", "-1", "1.5", "²", "", "all", str(usable_cores() + 1)):
        with pytest.raises(ConfigError, match="threads="):
            threads_of(name)


def test_a_run_computes_on_as_many_threads_as_asked_and_says_so(world, bench, monkeypatch) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 64)
    before, seen, advance = torch.get_num_threads(), set(), Engine.advance

    def watched(engine: Engine, step: int, at_most: int) -> int:
        seen.add(torch.get_num_threads())
        return advance(engine, step, at_most)

    monkeypatch.setattr(Engine, "advance", watched)
    for words in ([], [f"threads={before + 1}", "rerun=true"]):
        status, _, err = bench("dataset=tiny-hopper", "seeds=1", *words)
        assert status == 0, err
    records = [json.loads(path.read_text()) for path in sorted((world / "results").rglob("seed-*.json"))]
    assert [record["machine"]["threads"] for record in records] == [before, before + 1]
    assert seen == {before, before + 1}
    assert torch.get_num_threads() == before
    assert f"threads={before + 1}" in records[1]["command"]
    assert records[0]["config"] == records[1]["config"]
    returns = [[each["returns"] for each in record["evaluations"]] for record in records]
    assert returns[0] == returns[1]
