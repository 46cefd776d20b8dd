"""The smoke suite's gate is green on this code and red for each planted bug: `make selftest`, many minutes.

Each case trains the suite as `make gate` does, in this process, with the bug planted.
"""

import dataclasses
import functools
from pathlib import Path

import pytest
import torch

from cqlbench.algorithms.cql import losses
from cqlbench.commands.main import main
from cqlbench.core.paths import data_root
from cqlbench.engine.dataset_tensors import Columns
from cqlbench.engine.engine import Engine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def gate(results: Path, name: str = "smoke") -> int:
    baseline = data_root() / "results" / "baselines" / f"{name}.json"
    return main(["gate", f"suite={name}", f"baseline={baseline}", f"results={results}", "device=cpu"])


def no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    pass


def penalty_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(values, log_density, data_values, config):
        return torch.zeros_like(data_values)

    monkeypatch.setattr(losses, "conservative_gap", none)


def next_observations_of_other_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Columns.of

    def wrong(buffer):
        columns = right(buffer)
        moved = columns.next_observations.roll(len(columns.next_observations) // 2, 0)
        return dataclasses.replace(columns, next_observations=moved)

    monkeypatch.setattr(Columns, "of", wrong)


def raw_observations_in_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    act = Engine.act

    @functools.wraps(act)
    def raw(self, observations):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self, "_normalize", lambda same: same)
            return act(self, observations)

    monkeypatch.setattr(Engine, "act", raw)


@pytest.mark.parametrize(
    ("plant", "status"),
    [
        (no_bug, 0),
        (penalty_dropped, 1),
        (next_observations_of_other_rows, 1),
        (raw_observations_in_evaluation, 1),
    ],
)
def test_the_gate_is_red_for_a_bug_and_green_without(
    plant, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    assert gate(tmp_path) == status
    assert (tmp_path / "report" / "gate-smoke" / "gate.xml").is_file()
