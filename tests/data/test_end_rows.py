"""Flags a row too late or too early are found, with next observations and without; honest ones pass."""

import numpy as np
import pytest
from data.recordings import FAULTS, RECORDED, read, recording, rounded

from cqlbench.data.end_rows import examine_end_rows


@pytest.mark.parametrize("following", [True, False])
@pytest.mark.parametrize("name", RECORDED)
def test_honest_and_rounded_rows_pass(tmp_path, name, following):
    arrays = recording(name)
    for change in (lambda arrays: None, rounded):
        change(arrays)
        assert examine_end_rows(read(tmp_path / "a.npz", arrays, following)).severity == "ok"


@pytest.mark.parametrize("following", [True, False])
@pytest.mark.parametrize("when", ["late", "early"])
@pytest.mark.parametrize("name", RECORDED)
def test_flags_in_a_neighbouring_row_are_found(tmp_path, name, when, following):
    arrays = recording(name)
    FAULTS[f"flags a row {when}"][1](arrays)
    finding = examine_end_rows(read(tmp_path / "a.npz", arrays, following))
    assert (finding.check, finding.severity) == ("end rows", "doubt")
    assert when in finding.message
    assert "rows=trusted" in finding.message


@pytest.mark.parametrize("by", [1, -1])
def test_lone_rows_between_a_cut_and_a_flag(tmp_path, make_episodes, d4rl_arrays, by):
    arrays = d4rl_arrays(make_episodes(["truncated"] * 8, [200] * 8))
    assert examine_end_rows(read(tmp_path / "a.npz", arrays)).severity == "ok"
    arrays["timeouts"] = np.roll(arrays["timeouts"], by)
    finding = examine_end_rows(read(tmp_path / "a.npz", arrays))
    assert (finding.severity, finding.count) == ("doubt", 7 if by > 0 else 8)
