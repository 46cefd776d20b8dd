"""How far a suite is: on a terminal, in plain lines, and from another terminal."""

import json
import os
import time
from pathlib import Path

import pytest
from rich.console import Console

from cqlbench.commands.main import main
from cqlbench.experiments.launchers.board import Board, Status, statuses
from cqlbench.experiments.launchers.packing import Packing
from cqlbench.experiments.launchers.unit import Outcome, Unit

UNITS = [Unit(number, f"hopper, seeds {number}", (str(number),)) for number in range(1, 6)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "suites" / "mine" / "running").mkdir(parents=True)
    return tmp_path / "suites" / "mine"


def begin(folder: Path, number: int, host: str, attempt: int = 1, silent: float = 0) -> None:
    path = folder / "running" / f"{Unit(0, '', (str(number),)).key}.json"
    path.write_text(json.dumps({"host": host, "pid": 1, "since": time.time() - 70, "attempt": attempt}))
    os.utime(path, (time.time() - silent, time.time() - silent))


def test_another_terminal_sees_what_runs_where_and_what_failed(folder, capsys) -> None:
    begin(folder, 1, "left over of a unit that ended")
    begin(folder, 2, "node-a")
    begin(folder, 3, "node-b", attempt=2, silent=300)
    begin(folder, 9, "another suite's")
    packing = Packing(UNITS, "Ray, 2 nodes with 4 GPUs", 2, {})
    console = Console(quiet=True)
    with Board(folder, "mine", packing, console) as board:
        board.update({1: Outcome(0)})  # before there is a file whose time is now
        board._next = 0
        board.update({1: Outcome(0), 4: Outcome(2, "No such thing.")})
    ((status, age),) = statuses(folder.parent.parent)
    assert age < 60
    assert (status.total, status.done, status.waiting) == (5, 1, 1)
    running = {(each.host, each.attempt, each.silent) for each in status.running}
    assert running == {("node-a", 1, False), ("node-b", 2, True)}
    assert status.left is not None
    assert main(["status", f"results={folder.parent.parent}"]) == 0
    shown = capsys.readouterr().out
    for text in (
        "mine",
        "Ray, 2 nodes",
        "1 of 5 done",
        "node-a",
        "start 2",
        "no sign of life",
        "No such thing.",
    ):
        assert text in shown
    assert "nothing was heard" not in shown
    os.utime(folder / "status.json", (time.time() - 600, time.time() - 600))
    assert main(["status", f"results={folder.parent.parent}"]) == 0
    assert "nothing was heard of it for 10" in capsys.readouterr().out.replace("600 s", "10")


def test_elsewhere_than_on_a_terminal_there_are_plain_lines(folder) -> None:
    console = Console(record=True, width=200)
    units = [Unit(number, f"unit {number}", ()) for number in range(1, 101)]
    with Board(folder, "mine", Packing(units, "here", 1, {}), console) as board:
        for done in range(101):
            board._next = 0
            outcomes = {number: Outcome(0) for number in range(1, done + 1)}
            if done >= 50:
                outcomes[50] = Outcome(70, "It broke.")
            board.update(outcomes)
    lines = console.export_text().splitlines()
    assert len(lines) == 11  # a tenth each, and the failure
    assert [line for line in lines if line.startswith("Failed")] == ["Failed   unit 50: It broke."]
    assert lines[-1].startswith("Units    99 of 100 done, 0 running, 0 waiting, 1 failed")


def test_a_folder_without_suites_is_one_sentence(tmp_path, capsys) -> None:
    assert main(["status", f"results={tmp_path}"]) == 2
    assert "No suite" in capsys.readouterr().err


def test_time_left_is_by_what_is_recorded_until_units_have_ended(folder) -> None:
    console = Console(quiet=True)
    board = Board(folder, "mine", Packing(UNITS, "here", 2, {1: 100.0, 2: 300.0}), console)
    assert board._packing.total == 600  # three rounds of 200
    assert 590 < board._status({}).left <= 600
    assert Status("x", "y", 2, 2, [], [], 1.0, None).line.endswith("0 failed")
