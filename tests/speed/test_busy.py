"""What a run keeps of its share beside processes that never sleep."""

import json
import time

import pytest
from rich.console import Console
from speed import busy, measure
from speed.__main__ import speed
from speed.busy import Activity, Turns, kept


def test_what_is_kept_is_of_what_the_scheduler_allows() -> None:
    # A step needs 10 ms. Alone, two threads take 180 in a second; beside one process they may have 4/3 cores.
    single, alone = Turns(100, 1.0, 1.0), Turns(180, 1.0, 1.8)
    all_of_it = Turns(400, 3.0, 4.0, 2.0)
    assert kept(alone, single, all_of_it, threads=2, processes=1) == pytest.approx(1.0)
    # Spinning costs what it does not compute.
    wasted = Turns(100, 3.0, 4.0, 2.0)
    assert kept(alone, single, wasted, threads=2, processes=1) == pytest.approx(0.25)
    # What it leaves to others counts as well.
    left = Turns(300, 3.0, 3.0, 3.0)
    assert kept(alone, single, left, threads=2, processes=1) == pytest.approx(0.75)
    # What cannot use more than one core alone need not use more beside others.
    slow = Turns(100, 1.0, 1.0)
    assert kept(slow, single, Turns(100, 1.0, 1.0, 1.0), threads=2, processes=1) == pytest.approx(1.0)


def test_the_processes_beside_a_turn_spin_as_long_as_it_takes() -> None:
    found = busy.turn(lambda count: time.sleep(0.2 * count), 2, beside=1)
    assert found.steps == 2
    assert found.seconds >= 0.4
    assert found.own < found.others
    assert busy.turn(lambda _: None, 1, beside=0).others == 0


def test_rates_are_of_every_seed_and_recorded(monkeypatch, tmp_path) -> None:
    def sleep(count: int) -> None:
        time.sleep(0.02 * count)
        sum(range(10_000))

    monkeypatch.setattr(busy, "_TURN_SECONDS", 0.05)
    monkeypatch.setattr(busy, "_trainings", lambda: [Activity("sleeping", 3, sleep)])
    monkeypatch.setattr(busy, "_plays", lambda _: [])
    monkeypatch.setattr(measure, "WORKLOADS", ())
    speed(["busy=1", "rounds=1", "device=cpu", f"results={tmp_path}"], Console())
    (path,) = tmp_path.rglob("*.json")
    (row,) = json.loads(path.read_text())["busy"]
    assert row["name"] == "sleeping"
    assert len(row["rates"]) == 2
    assert len(row["kept"]) == 1
    assert 0 < row["one_thread"] <= 150  # three for each sleep of 20 ms


def test_evaluation_and_collection_are_played(monkeypatch) -> None:
    pytest.importorskip("envpool")
    monkeypatch.setattr(busy, "_EPISODES", 2)
    monkeypatch.setattr(busy, "_FRAMES", 10)
    with busy.ExitStack() as stack:
        evaluation, collection = busy._plays(stack)
        evaluation.play(1)
        collection.play(1)
    assert (evaluation.size, collection.size) == (3 * 2 * 10, 10 * 10)
