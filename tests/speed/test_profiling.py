"""A profile holds the step's operations and their times, and a trace that can be opened."""

import json

import pytest
import torch
from rich.console import Console
from speed import profiling
from speed.workload import Workload

from cqlbench.core.errors import ConfigError


def test_a_profile_counts_the_steps_operations(tmp_path) -> None:
    tiny = Workload(seeds=2, hidden=(8, 8), batch_size=4, proposals=3)
    found = profiling.operations(tiny, torch.device("cpu"), 2, tmp_path / "new" / "trace.json")
    calls = {one.name: one.calls for one in found}
    assert calls["aten::_fused_adam_"] == 3  # actor, critics, temperature
    assert [one.seconds for one in found] == sorted((one.seconds for one in found), reverse=True)
    assert json.loads((tmp_path / "new" / "trace.json").read_text())["traceEvents"]
    shown = profiling.table(found, floor_seconds=sum(one.seconds for one in found) / 2)
    assert list(shown.columns[-1].cells)[-1] == "2.00"


@pytest.mark.parametrize(
    ("word", "named"), [("seeds=0", "seeds"), ("steps=few", "steps.*few"), ("depth=3", "depth")]
)
def test_a_word_that_is_not_understood_is_one_sentence(word, named) -> None:
    with pytest.raises(ConfigError, match=named):
        profiling.show([word], Console())
