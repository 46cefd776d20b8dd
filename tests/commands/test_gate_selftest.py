"""The gate is green on this code and red for each planted bug: `make selftest`, minutes on two cores.

Unmodified code is compared with the accepted baseline, with half of its seeds. Bugs show long before
training ends, so they are planted into shorter runs of the suite, whose baseline is made here. With
`GATE_TABLE=<file>` each case appends to that file the row of `results/README.md` that says what saw it.
"""

import dataclasses
import functools
import importlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor

from cqlbench.algorithms.cql import CQL
from cqlbench.algorithms.networks import critic_values
from cqlbench.commands.main import main
from cqlbench.core.paths import data_root
from cqlbench.engine.dataset_tensors import Columns
from cqlbench.engine.engine import Engine
from cqlbench.records.schema import Git
from cqlbench.reporting.gate.verdict import Gate, judge

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

Patch = pytest.MonkeyPatch
ACCEPTED = ("seeds=5",)
TRAINING = ("steps=600", "budget.evaluation_interval=100", "seeds=5")
EVALUATION = ("steps=1200", "budget.evaluation_interval=100", "seeds=5")
"""Long enough for a score that can drop."""


def gate(results: Path, baseline: Path, *words: str) -> int:
    return main(["gate", "suite=smoke", f"baseline={baseline}", f"results={results}", "device=cpu", *words])


@pytest.fixture(scope="module")
def baseline_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[tuple[str, ...]], Path]:
    @functools.cache
    def made(words: tuple[str, ...]) -> Path:
        if words == ACCEPTED:
            return data_root() / "results" / "baselines" / "smoke.json"
        folder = tmp_path_factory.mktemp("accepted")
        with Patch.context() as patch:  # whoever works on the gate may test it before he commits
            for place in ("cqlbench.records.provenance.git_state", "cqlbench.commands.gate.git_state"):
                patch.setattr(place, lambda: Git(commit="c" * 40, dirty=False))
            assert gate(folder, folder / "smoke.json", "--accept", *words) == 0
        return folder / "smoke.json"

    return made


def no_bug(patch: Patch) -> None:
    pass


def penalty_dropped(patch: Patch) -> None:
    _other_loss(patch, conservative_weight=1e-9)


def penalty_weighed_by_a_tenth(patch: Patch) -> None:
    _other_loss(patch, conservative_weight=0.1)


def discount_of_nine_tenths(patch: Patch) -> None:
    _other_loss(patch, discount=0.9)


def _other_loss(patch: Patch, **settings: float) -> None:
    """The loss takes other settings than those that the run records."""
    right = CQL._loss

    def wrong(self, networks, batch, noise):
        return right(CQL(dataclasses.replace(self.config, **settings), self.spaces), networks, batch, noise)

    patch.setattr(CQL, "_loss", wrong)


def temperature_frozen(patch: Patch) -> None:
    right = CQL.rates
    patch.setattr(CQL, "rates", lambda self: right(self) | {"temperature": 0.0})


def targets_never_updated(patch: Patch) -> None:
    patch.setattr("cqlbench.algorithms.step._polyak", lambda *_: None)


def maximum_over_critics(patch: Patch) -> None:
    def targets(networks, batch, normals, found, config) -> Tensor:
        actions, _ = found.next_policy.sample(normals)
        values = critic_values(networks.targets["critics"], batch.next_observations, actions).amax((1, 3))
        return batch.rewards + config.discount * (1 - batch.terminated) * values

    # The package has a function of the module's name.
    patch.setattr(importlib.import_module("cqlbench.algorithms.cql.losses"), "targets_of", targets)


def _other_columns(patch: Patch, change: Callable[[Columns, object], dict[str, Tensor]]) -> None:
    right = Columns.of

    def wrong(buffer):
        columns = right(buffer)
        return dataclasses.replace(columns, **change(columns, buffer))

    patch.setattr(Columns, "of", wrong)


def rewards_halved(patch: Patch) -> None:
    _other_columns(patch, lambda columns, _: {"rewards": columns.rewards / 2})


def truncation_terminates(patch: Patch) -> None:
    def ends(_, buffer):
        return {"terminated": buffer.storage[: len(buffer)].get(("next", "done")).flatten()}

    _other_columns(patch, ends)


def next_observations_of_other_rows(patch: Patch) -> None:
    def rolled(columns, _):
        return {"next_observations": columns.next_observations.roll(len(columns.rewards) // 2, 0)}

    _other_columns(patch, rolled)


def raw_observations_in_evaluation(patch: Patch) -> None:
    right = Engine.act

    def raw(self, observations):
        with Patch.context() as within:
            within.setattr(self, "_normalize", lambda same: same)
            return right(self, observations)

    patch.setattr(Engine, "act", raw)


def action_columns_permuted_in_evaluation(patch: Patch) -> None:
    right = Engine.act
    patch.setattr(Engine, "act", lambda self, observations: right(self, observations).roll(1, -1))


@pytest.mark.parametrize(
    ("plant", "words", "verdict"),
    [
        (no_bug, ACCEPTED, "no change"),
        (raw_observations_in_evaluation, EVALUATION, "regression"),
        (action_columns_permuted_in_evaluation, EVALUATION, "regression"),
        (penalty_dropped, TRAINING, "algorithm changed"),
        (penalty_weighed_by_a_tenth, TRAINING, "algorithm changed"),
        (discount_of_nine_tenths, TRAINING, "algorithm changed"),
        (temperature_frozen, TRAINING, "algorithm changed"),
        (targets_never_updated, TRAINING, "algorithm changed"),
        (maximum_over_critics, TRAINING, "algorithm changed"),
        (rewards_halved, TRAINING, "algorithm changed"),
        (truncation_terminates, TRAINING, "algorithm changed"),
        (next_observations_of_other_rows, TRAINING, "algorithm changed"),
    ],
)
def test_the_gate_is_red_for_a_bug_and_green_without(
    plant: Callable[[Patch], None],
    words: tuple[str, ...],
    verdict: str,
    baseline_of: Callable[[tuple[str, ...]], Path],
    tmp_path: Path,
    monkeypatch: Patch,
) -> None:
    baseline, seen = baseline_of(words), []

    def seeing(*given: object) -> Gate:
        seen.append(judge(*given))
        return seen[-1]

    monkeypatch.setattr("cqlbench.commands.gate.judge", seeing)
    plant(monkeypatch)
    status = gate(tmp_path, baseline, *words)
    (found,) = seen
    if table := os.environ.get("GATE_TABLE"):
        with Path(table).open("a", encoding="utf-8") as file:
            file.write(_row(plant.__name__, found))
    assert status == (verdict != "no change")
    # A bug of training may cost a score as well.
    assert found.verdict in ({verdict, "regression"} if status else {verdict})
    if verdict == "algorithm changed":
        assert any(line.changed for line in found.lines)
    assert (tmp_path / "report" / "gate-smoke" / "gate.xml").is_file()


def _row(name: str, found: Gate) -> str:
    changed = sorted(
        (each for line in found.lines for each in line.changed), key=lambda each: each.probability
    )
    drops = ", ".join(f"{line.drop.drop:.1f}" for line in found.lines if line.drop)
    parts = ", ".join(line.parts or "–" for line in found.lines)
    signal = "–"
    if changed:
        first = changed[0]
        distance = abs(first.after - first.before) / first.std if first.std else float("inf")
        signal = f"`{first.name}` at step {first.step}, {distance:.0f} std, p = {first.probability:.0e}"
    count = sum(line.signals for line in found.lines)
    bug = name.replace("_", " ")
    return f"| {bug} | {found.verdict} | {signal} | {len(changed)} of {count} | {parts} | {drops} |\n"
