"""A unit's command: its outcome, its log, how it is started again, and that it outlives nobody."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cqlbench.experiments.launchers.unit import Surroundings, Unit, run_unit


def program(text: str) -> Unit:
    return Unit(3, "it", ("-c", text))


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    return Surroundings(str(tmp_path / "suite"), {"COLOUR": "green"}, retries=2, working=str(tmp_path))


def log(around: Surroundings) -> str:
    return "".join(path.read_text() for path in sorted(Path(around.folder, "logs").glob("*.log")))


def notes(around: Surroundings) -> list[str]:
    return [path.read_text() for path in Path(around.folder, "running").glob("*.json")]


@pytest.mark.parametrize("status", [0, 1])
def test_what_made_its_records_has_no_message(around: Surroundings, tmp_path: Path, status: int) -> None:
    made = run_unit(program(f"import os; print(os.getcwd(), os.environ['COLOUR']); exit({status})"), around)
    assert (made.status, made.message, made.crashed) == (status, "", False)
    assert f"{tmp_path} green" in log(around)
    assert notes(around) == []
    assert run_unit(program(""), Surroundings(around.folder, working="/gone")).status == 0


def test_an_error_is_named_and_not_tried_again(around: Surroundings) -> None:
    made = run_unit(
        program("print('x', flush=True); import sys; sys.exit('cqlbench: No such thing.')"), around
    )
    assert made.status == 1  # sys.exit with a text
    for status, crashed in ((2, False), (70, True)):
        text = f"import sys; print('cqlbench: No such thing.\\n', file=sys.stderr); sys.exit({status})"
        made = run_unit(program(text), around)
        assert made.message.startswith("No such thing. (status")
        assert made.crashed == crashed
    assert log(around).count("# ") == 3


def test_what_was_killed_is_started_again_and_given_up_at_last(around: Surroundings) -> None:
    once = (
        "import os, pathlib; p = pathlib.Path('been'); been = p.exists(); p.touch();"
        "been or os.kill(os.getpid(), 9)"
    )
    assert run_unit(program(once), around).status == 0
    made = run_unit(program("import os; os.kill(os.getpid(), 9)"), around)
    assert made.status == -9
    assert "SIGKILL" in made.message
    assert log(around).count("# ") == 2 + 3


def test_what_is_cancelled_is_asked_to_save_and_not_started_again(around: Surroundings) -> None:
    text = (
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(143));"
        "print('re' + 'ady', flush=True); time.sleep(60)"
    )
    cancelled, made = threading.Event(), []
    thread = threading.Thread(target=lambda: made.append(run_unit(program(text), around, cancelled)))
    thread.start()
    while "ready" not in log(around):
        time.sleep(0.02)
    assert "host" in notes(around)[0]
    cancelled.set()
    thread.join(timeout=10)
    assert made[0].status == 143


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_it_does_not_outlive_whoever_started_it(tmp_path: Path) -> None:
    starter = (
        "import sys; from cqlbench.experiments.launchers.unit import *;"
        "run_unit(Unit(1, 'it', ('-c', 'import os, pathlib, time; pathlib.Path(\"pid\").write_text("
        "str(os.getpid())); time.sleep(60)')), Surroundings(sys.argv[1], working=sys.argv[1]))"
    )
    process = subprocess.Popen([sys.executable, "-c", starter, str(tmp_path)])
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()):
        time.sleep(0.02)
    child = int((tmp_path / "pid").read_text())
    process.send_signal(signal.SIGKILL)
    process.wait()
    for _ in range(200):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("it lives")
