"""The simulator confirms honest rows, and contradicts those that were shifted, scaled or permuted."""

import numpy as np
import pytest
from data.recordings import FAULTS, RECORDED, read, recording, rounded

from cqlbench.data.cards import Card
from cqlbench.data.replayed import examine_replay
from cqlbench.environments.spec import EnvironmentSpec

CAUGHT = {
    "actions a row late": "replayed states",
    "actions a row early": "replayed states",
    "states a row late": "replayed states",
    "state columns reversed half-way": "replayed states",
    "actions scaled": "replayed states",
    "rewards a row late": "replayed rewards",
    "rewards negated half-way": "replayed rewards",
    "no rewards": "replayed rewards",
    "flags a row early": "replayed ends",
}


def card(name, source="path"):
    return Card(id="x", source=source, environment=EnvironmentSpec(name))


def severities(rows, card):
    return {finding.check: finding.severity for finding in examine_replay(rows, card)}


@pytest.mark.parametrize("name", RECORDED)
def test_honest_and_rounded_rows_pass(tmp_path, name):
    arrays = recording(name)
    for change in (lambda arrays: None, rounded):
        change(arrays)
        found = severities(read(tmp_path / "a.npz", arrays), card(RECORDED[name]))
        assert found == dict.fromkeys(["replayed states", "replayed rewards", "replayed ends"], "ok")


@pytest.mark.parametrize("fault", CAUGHT)
@pytest.mark.parametrize("name", RECORDED)
def test_planted_faults_are_found(tmp_path, name, fault):
    arrays = recording(name)
    FAULTS[fault][1](arrays)
    rows = read(tmp_path / "a.npz", arrays, following="flags" not in fault)
    found = severities(rows, card(RECORDED[name]))
    assert found[CAUGHT[fault]] == ("warning" if fault.split()[1] in ("negated", "rewards") else "doubt")


def test_published_rows_of_another_simulator_are_no_doubt(tmp_path):
    arrays = recording("hopper")
    arrays["actions"] /= 2
    rows = read(tmp_path / "a.npz", arrays)
    assert severities(rows, card("Hopper-v4", "d4rl"))["replayed states"] == "warning"


def test_what_cannot_be_replayed_is_said(tmp_path):
    rows = read(tmp_path / "a.npz", recording("hopper"))
    assert examine_replay(rows, Card(id="x", source="path")) == []
    for name in ("Pusher-v5", "NoSuch-v0"):
        (finding,) = examine_replay(rows, card(name))
        assert finding.severity == "ok"
        assert finding.message.startswith("Not replayed: ")
    few = read(tmp_path / "a.npz", {key: column[:40] for key, column in recording("hopper").items()})
    assert examine_replay(few, card("Hopper-v4")) == []
    assert np.isfinite(rows.rewards).all()
