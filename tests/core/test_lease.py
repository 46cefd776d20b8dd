"""Leases: one holder at a time, without file locks, whatever the hosts' clocks say and whoever dies."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cqlbench.core import lease
from cqlbench.core.lease import Lease, LeaseHeldError, LeaseLostError, held


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT", 0.05)
    monkeypatch.setattr(lease, "EXPIRY", 0.4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "x.lease"


def of_another_host(path: Path, token: str = "theirs") -> None:
    path.parent.mkdir(exist_ok=True)
    holder = {"host": "far", "machine": "another", "pid": os.getpid(), "started": "1", "token": token}
    path.write_text(json.dumps(holder))


def seconds(path: Path, patience: float = float("inf")) -> float:
    began = time.monotonic()
    with held(path, "it", patience):
        return time.monotonic() - began


def test_it_is_held_by_one_until_it_is_released(path: Path) -> None:
    with held(path, "it") as first:
        for _ in range(2):
            with pytest.raises(LeaseHeldError, match=f"process {os.getpid()} on .* holds it"):
                Lease(path, "it").acquire(patience=0)
            time.sleep(0.5)  # longer than the expiry: the heart beats
        first.check()
        waiting = threading.Thread(target=seconds, args=(path,))
        waiting.start()
    waiting.join(timeout=5)
    assert not waiting.is_alive()
    assert list(path.parent.iterdir()) == []


def test_a_silent_host_is_waited_for_and_then_taken_over(path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(lease, "_SILENCE", 0.1)
    of_another_host(path)
    assert 0.3 < seconds(path, patience=0) < 3
    assert capsys.readouterr().err.count("waiting for it, which another process") == 1


def test_a_living_host_is_not_taken_over(path: Path) -> None:
    of_another_host(path)
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.05):
            os.utime(path)

    heart = threading.Thread(target=beat)
    heart.start()
    with pytest.raises(LeaseHeldError, match="on far"):
        Lease(path, "it").acquire(patience=0.6)
    ended.set()
    heart.join()


@pytest.mark.parametrize("days", [-2, 2])
def test_the_hosts_clocks_do_not_matter(path: Path, monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + days * 86_400)
    monkeypatch.setattr(time, "time_ns", lambda: int(1e9 * time.time()))
    of_another_host(path)
    assert 0.3 < seconds(path) < 3
    with held(path, "it"), pytest.raises(LeaseHeldError):
        Lease(path, "it").acquire(patience=0.6)


def test_a_dead_process_of_this_machine_is_not_waited_for(path: Path, monkeypatch) -> None:
    monkeypatch.setattr(lease, "EXPIRY", 100.0)
    program = (
        "import os, sys; from pathlib import Path; from cqlbench.core.lease import Lease;"
        "Lease(Path(sys.argv[1]), 'it').acquire(); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == 9
    assert path.exists()
    assert seconds(path, patience=0) < 5


@pytest.mark.parametrize("content", ["", "{", '{"host": 1}', "[]"])
def test_what_is_no_lease_goes_like_a_silent_one(path: Path, content: str) -> None:
    path.parent.mkdir()
    path.write_text(content)
    assert 0.3 < seconds(path) < 3


def test_of_many_that_take_over_one_does(path: Path) -> None:
    of_another_host(path)
    inside, most, together = 0, 0, threading.Barrier(8)

    def contend() -> None:
        nonlocal inside, most
        together.wait()
        with held(path, "it"):
            inside += 1
            most = max(most, inside)
            time.sleep(0.02)
            inside -= 1

    threads = [threading.Thread(target=contend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert most == 1
    assert not any(thread.is_alive() for thread in threads)
    assert list(path.parent.iterdir()) == []


def test_whoever_lost_it_is_told_and_leaves_the_new_holders_alone(path: Path) -> None:
    with held(path, "the run") as mine:
        mine.check()
        of_another_host(path)
        mine.check(within=60)  # asked a moment ago
        assert mine.lost
        with pytest.raises(LeaseLostError, match=r"the run was taken over by process \d+ on far"):
            mine.check()
    assert json.loads(path.read_text())["token"] == "theirs"


def test_a_taker_that_died_in_the_middle_holds_nobody_up(path: Path) -> None:
    of_another_host(path)
    path.with_name(f"{path.name}.theirs.over").touch()
    assert seconds(path) < 5
    assert list(path.parent.iterdir()) == []


def test_patience_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CQLBENCH_PATIENCE", "2.5")
    assert lease.patience() == 2.5
    monkeypatch.setenv("CQLBENCH_PATIENCE", "long")
    with pytest.raises(lease.ConfigError, match="CQLBENCH_PATIENCE"):
        lease.patience()
