"""Training's diagnostics on made-up records: what is another algorithm, and where two runs part."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from made_records import replace
from scipy import stats

from cqlbench.records.schema import Record
from cqlbench.reporting.gate.baseline import Baseline, SuiteRun, accept
from cqlbench.reporting.gate.scores import Limits
from cqlbench.reporting.gate.tables import document, junit
from cqlbench.reporting.gate.training import changes, signals, snapshots
from cqlbench.reporting.gate.verdict import Line, judge
from cqlbench.reporting.tables.render import markdown

SEEDS = tuple(range(5))
Rows = Callable[[int, int], Mapping[str, float]]


@pytest.fixture
def run(make_record):
    """`run(values)` -> a run whose diagnostics are `values(seed, step)` at 8 steps, and at the first 3."""

    def make(values: Rows, code: str = "a") -> SuiteRun:
        def record(seed: int) -> Record:
            rows = tuple({"step": step, **values(seed, step)} for step in range(100, 900, 100))
            first = tuple({"step": step, **values(seed, step)} for step in (1, 2, 3))
            made = make_record(seed, [50.0 + seed], SEEDS)
            git = replace(made.git, commit=code * 40, dirty=False)
            return replace(made, diagnostics=rows, first_steps=first, git=git)

        records = tuple(map(record, SEEDS))
        return SuiteRun(records[0].dataset.id, SEEDS, records, algorithm=records[0].algorithm)

    return make


@pytest.fixture(autouse=True)
def code_is_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cqlbench.reporting.gate.baseline.code_digest", lambda commit: commit[:12])


def usual(seed: int, step: int) -> dict[str, float]:
    return {"data_value": step + 0.1 * seed, "entropy_temperature": 1.0}


def accepted(run: SuiteRun) -> Baseline:
    return accept("s", "last", [run], "2026-01-01T00:00:00+00:00")


def line(old: SuiteRun, new: SuiteRun, limits: Limits | None = None) -> Line:
    return judge(accepted(old), [new], limits or Limits(), 500).lines[0]


def test_snapshots_are_the_first_row_a_quarter_half_and_the_end(run) -> None:
    found = snapshots(run(usual).records)
    assert [each.step for each in found] == [100, 200, 400, 800]
    assert found[1].values["data_value"] == (200.0, 200.1, 200.2, 200.3, 200.4)


def test_a_signal_is_students_two_sided_t_test(run) -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, 5))
    before = run(lambda seed, _step: {"data_value": x[seed]})
    after = run(lambda seed, _step: {"data_value": y[seed]})
    (found, *_) = signals(snapshots(before.records), snapshots(after.records))
    assert found.probability == pytest.approx(stats.ttest_ind(x, y).pvalue)
    assert (found.before, found.after) == (pytest.approx(x.mean()), pytest.approx(y.mean()))


@pytest.mark.parametrize("shift", [-2.0, 2.0])
def test_training_that_moved_either_way_is_another_algorithm_though_scores_are_equal(run, shift) -> None:
    moved = run(
        lambda seed, step: usual(seed, step) | {"data_value": step + 0.1 * seed + shift * (step > 300)}, "b"
    )
    gate = judge(accepted(run(usual)), [moved], Limits(), 500)
    (found,) = gate.lines
    assert (gate.status, gate.verdict, found.identical) == (1, "algorithm changed", (5, 5))
    assert {(each.name, each.step) for each in found.changed} == {("data_value", 400), ("data_value", 800)}
    assert (found.signals, found.parts) == (8, "201-400")
    assert "data_value at step" in found.reason
    assert "| data_value | 400 |" in " ".join(markdown(document(gate)).split())
    assert b'failures="1"' in junit(gate)
    assert line(run(usual), moved, Limits(false_alarms=0.0)).verdict == "no change"


def test_what_does_not_scatter_may_round_otherwise_and_not_move(run) -> None:
    def frozen(value: float) -> SuiteRun:
        return run(lambda seed, step: usual(seed, step) | {"entropy_temperature": value}, "b")

    assert line(run(usual), frozen(1.0 + 1e-7)).verdict == "no change"
    assert line(run(usual), frozen(0.9)).verdict == "algorithm changed"


def test_one_algorithm_is_called_changed_as_rarely_as_stated() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 2_000, 10, 8))
    alarms = (stats.ttest_ind(x, y, axis=1).pvalue < 0.05 / 8).any(1)
    assert alarms.mean() == pytest.approx(0.05, abs=0.015)  # what `changes` relies on (Bonferroni)
    assert changes([], 0.05, 0) == []


def test_the_step_at_which_training_parts_is_said(run) -> None:
    def from_step(first: int) -> Rows:
        tiny = 1e-9  # seeds scatter by 0.1
        return lambda seed, step: (
            usual(seed, step) | {"data_value": step + 0.1 * seed + tiny * (step >= first and seed == 3)}
        )

    assert line(run(usual), run(usual, "b")).parts == "never"
    for first, parts in ((1, "1"), (3, "3"), (100, "4-100"), (300, "201-400")):
        found = line(run(usual), run(from_step(first), "b"))
        assert (found.verdict, found.parts) == ("no change", parts)
        alike = line(run(usual), run(from_step(first)))  # the same code
        assert (alike.verdict, alike.parts) == ("algorithm changed", parts)
        assert f"step {parts}." in alike.reason


def test_other_machines_and_packages_may_round_otherwise(run) -> None:
    new = run(lambda seed, step: usual(seed, step) | {"data_value": step + 0.1 * seed + 1e-9})
    for change in ({"versions": {"torch": "9"}}, {"machine": replace(new.records[0].machine, model="1.2")}):
        other = replace(new, records=tuple(replace(each, **change) for each in new.records))
        found = line(run(usual), other)
        assert (found.verdict, found.parts) == ("no change", "")


def test_a_baseline_without_diagnostics_judges_scores_and_says_so(run) -> None:
    bare = accepted(run(usual))
    entry = replace(bare.entries[0], diagnostics=(), first_steps={})
    old = replace(bare, entries=(entry,), schema_version=1)
    found = judge(old, [run(usual, "b")], Limits(), 500).lines[0]
    assert (found.verdict, found.signals, found.parts) == ("no change", 0, "")
    assert "no training diagnostics" in found.notes[0]
