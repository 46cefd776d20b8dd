"""Values that no honest recording has are found, and rare huge rewards are only noted."""

import numpy as np
import pytest
from data.recordings import FAULTS, RECORDED, read, recording, rounded

from cqlbench.data.findings import Expected
from cqlbench.data.odd_values import examine_values, far_out, reach

CHECKS = ["rewards", "outliers", "action scale"]


def severities(rows):
    return {finding.check: finding.severity for finding in examine_values(rows, Expected())}


@pytest.mark.parametrize("name", RECORDED)
def test_planted_faults_are_found_and_honest_rows_pass(tmp_path, name):
    arrays = recording(name)
    assert severities(read(tmp_path / "a.npz", arrays)) == dict.fromkeys(CHECKS, "ok")
    rounded(arrays)
    assert severities(read(tmp_path / "a.npz", arrays)) == dict.fromkeys(CHECKS, "ok")
    for fault, (check, plant) in FAULTS.items():
        if check in CHECKS:
            arrays = recording(name)
            plant(arrays)
            found = severities(read(tmp_path / "a.npz", arrays))
            severity = "warning" if fault in ("a reward far out", "actions scaled") else "doubt"
            assert found == {**dict.fromkeys(CHECKS, "ok"), check: severity}


def test_far_out_names_the_rows_and_takes_a_tail_for_none():
    values = np.random.default_rng(0).normal(size=(30_000, 2)).astype(np.float32)
    assert len(far_out(values)) == 0
    values[[7, 20_000], [0, 1]] = 100, -70
    assert far_out(values).tolist() == [7, 20_000]
    values[:, 0] = np.random.default_rng(0).standard_t(3, 30_000)
    assert far_out(values).tolist() == [20_000]


def test_many_bonuses_are_no_outliers():
    rewards = np.random.default_rng(0).normal(size=(11_000, 1)).astype(np.float32)
    rewards[::400] = 75.0
    assert len(far_out(rewards)) == 0
    rare = np.zeros((11_000, 1), np.float32)
    rare[5000] = 1.0
    assert len(far_out(rare)) == 0


def test_reach_is_the_farthest_way_to_a_bound():
    actions = np.array([[0.0, 20.0], [0.5, 44.0]], np.float32)
    assert reach(actions, Expected([-1.0, 0.0], [1.0, 80.0])) == pytest.approx(0.5)
    assert reach(actions, Expected(-100.0, 100.0)) == pytest.approx(0.44)
