"""Rows that do not belong together are found in two simulators' recordings; honest and rounded ones pass."""

from dataclasses import replace

import numpy as np
import pytest
from data.recordings import FAULTS, RECORDED, read, recording, rounded

from cqlbench.data import alignment, validate
from cqlbench.data.alignment import best_lag, examine_alignment, exchange, sampled
from cqlbench.data.findings import Expected

CHECKS = ["action rows", "reward rows", "columns", "reward sign"]
FOUND_BY_DYNAMICS = {name: fault for name, fault in FAULTS.items() if fault[0] in CHECKS}


def doubted(findings):
    return [finding.check for finding in findings if finding.severity != "ok"]


@pytest.mark.parametrize("following", [True, False])
@pytest.mark.parametrize("name", RECORDED)
def test_honest_and_rounded_rows_pass(tmp_path, name, following):
    arrays = recording(name)
    for change in (lambda arrays: None, rounded):
        change(arrays)
        findings = examine_alignment(read(tmp_path / "a.npz", arrays, following))
        assert [finding.check for finding in findings] == CHECKS
        assert doubted(findings) == []


@pytest.mark.parametrize("fault", FOUND_BY_DYNAMICS)
@pytest.mark.parametrize("name", RECORDED)
def test_planted_faults_are_found(tmp_path, name, fault):
    arrays = recording(name)
    check, plant = FOUND_BY_DYNAMICS[fault]
    plant(arrays)
    findings = examine_alignment(read(tmp_path / "a.npz", arrays))
    assert check in doubted(findings)
    (finding,) = (finding for finding in findings if finding.check == check)
    assert "rows=trusted" in finding.message
    if "actions a row" in fault or "rewards a row" in fault:
        assert f"the row {'after' if 'late' in fault else 'before'} " in finding.message


def test_positions_without_velocities_pass():
    """The action before tells more of a change of place than the action, but for the change before."""
    random = np.random.default_rng(0)
    pushes = random.uniform(-1, 1, (4000, 2)).astype(np.float32)
    velocities = np.cumsum(pushes - 0.5 * np.roll(pushes, 3, axis=0), axis=0) * 0.05
    places = np.cumsum(velocities, axis=0).astype(np.float32)
    starts = np.arange(0, 3999, 200)
    flags = np.zeros(3999, np.bool_)
    flags[starts[1:] - 1] = True
    rows = alignment.Transitions(
        places[:-1], pushes[1:], np.ones(3999, np.float32), places[1:], np.zeros_like(flags), flags, starts
    )
    sample = sampled(rows)
    assert best_lag(alignment.action_misses(sample))[1] > 0.85


def test_few_rows_or_many_columns_are_not_judged(tmp_path):
    rows = read(tmp_path / "a.npz", {key: column[:900] for key, column in recording("hopper").items()})
    assert examine_alignment(rows) == []
    wide = np.zeros((8000, 250), np.float32)
    rows = read(tmp_path / "a.npz", recording("hopper"))
    assert sampled(replace(rows, observations=wide, next_observations=wide)) is None


def test_best_lag_is_in_units_of_lag_zero():
    assert best_lag([0.2, 0.4, 0.8]) == (-1, 0.5)
    assert best_lag([0.9, 0.3, 0.6]) == (1, 2.0)
    assert best_lag([0.1, 0.0, 0.1]) == (1, np.inf)


def test_exchange_is_the_permutation_that_brings_columns_together():
    places = np.array([0.0, 1.0, 3.0, 7.0, 20.0])
    order = [2, 0, 1, 3, 4]
    moved, ratio, gain = exchange(np.abs(places[:, None] - places[order]))
    assert (moved, ratio) == ([0, 1, 2], 0.0)
    assert gain == pytest.approx((3 + 1 + 2) / 3)
    assert exchange(np.abs(places[:, None] - places)) == ([], 1.0, 0.0)


def test_who_trusts_the_rows_hears_nothing(tmp_path):
    arrays = recording("hopper")
    FAULTS["actions a row late"][1](arrays)
    rows = read(tmp_path / "a.npz", arrays)
    assert any("actions" in note and "row" in note for note in validate.check(rows))
    assert validate.check(rows, Expected(trusted_rows=True)) == ()
