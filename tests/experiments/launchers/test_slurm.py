"""Units as SLURM jobs, by stand-ins for SLURM's programs (`fake_slurm.py`)."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("submitit")

from cqlbench.core.errors import ConfigError
from cqlbench.experiments.launchers import probe, slurm
from cqlbench.experiments.launchers.launcher import connect
from cqlbench.experiments.launchers.settings import SlurmSettings
from cqlbench.experiments.launchers.unit import Outcome, Surroundings, Unit

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SLURM is Linux's")

PROGRAM = """
import os, pathlib, signal, sys, time
name = sys.argv[1]
def save(*_):
    pathlib.Path(f'{name}.saved').touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
with open(name, 'a') as file: file.write('x')
if name == 'bad':
    print('cqlbench: No such thing.')
    sys.exit(2)
while name in ('long', 'lost') and len(open(name).read()) == 1 or name == 'endless':
    time.sleep(0.05)
"""


@pytest.fixture(autouse=True)
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder, state = tmp_path / "bin", tmp_path / "slurm"
    for path in (folder, state):
        path.mkdir()
    for name in ("sbatch", "srun", "squeue", "scontrol", "scancel"):
        program = Path(__file__).parent / "fake_slurm.py"
        (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable} -S {program} {name} "$@"\n')
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(state))
    monkeypatch.setattr(slurm, "_ASK", 0.5)
    return state


def units(*names: str) -> list[Unit]:
    return [Unit(number, name, ("-c", PROGRAM, name)) for number, name in enumerate(names, 1)]


def finished(launcher: slurm.SlurmLauncher, count: int) -> dict[int, Outcome]:
    outcomes: dict[int, Outcome] = {}
    deadline = time.monotonic() + 100
    while len(outcomes) < count:
        assert time.monotonic() < deadline
        outcomes |= launcher.wait(0.1)
    return outcomes


def test_jobs_run_out_of_time_are_lost_or_fail(tmp_path: Path, programs: Path, monkeypatch) -> None:
    around = Surroundings(str(tmp_path / "suite"), working=str(tmp_path))
    settings = SlurmSettings(partition="gpu", time=60, gpus_per_run=2, cpus_per_run=3, memory=4, retries=1)
    four = units("short", "long", "bad", "lost")
    first = connect(settings, tmp_path)
    first.submit(four, around)
    options = json.loads((programs / "options").read_text())
    wanted = {"partition": "gpu", "time": "60", "gpus-per-node": "2", "cpus-per-task": "3", "mem": "4GB"}
    assert wanted.items() <= options.items()
    while not (tmp_path / "lost").exists() or not (tmp_path / "long").exists():
        time.sleep(0.05)
    # The driver is killed, and another one follows the jobs, whose machines need not be looked at again.
    monkeypatch.setenv("FAKE_SLURM_HIDES", str(tmp_path))
    second = connect(settings, tmp_path)
    second.submit(four, around)
    (programs / "17_1.over").touch()
    (programs / "17_3.lost").touch()
    outcomes = finished(second, 4)
    assert {number: each.status for number, each in outcomes.items()} == {1: 0, 2: 0, 3: 2, 4: 0}
    assert outcomes[3].message.startswith("No such thing.")
    assert [(tmp_path / name).read_text() for name in ("long", "lost")] == ["xx", "xx"]
    assert (tmp_path / "long.saved").exists()
    assert not (tmp_path / "lost.saved").exists()


def test_machines_that_cannot_run_units_are_named_before_any_is_submitted(
    tmp_path: Path, programs: Path, monkeypatch
) -> None:
    results = tmp_path / "results"
    launcher = connect(SlurmSettings(partition="gpu", gpus_per_run=2), results)
    around = Surroundings(str(results / "suite"))

    def refused(sentence: str) -> None:
        with pytest.raises(ConfigError, match=sentence) as caught:
            launcher.submit(units("short"), around)
        assert "\n" not in str(caught.value)

    with monkeypatch.context() as patch:
        patch.setenv("FAKE_SLURM_HIDES", str(results))
        refused(f"does not see '{results}'")
    with monkeypatch.context() as patch:
        patch.setattr(probe, "versions", lambda: {"cqlbench": "0.0.9"})
        refused("cqlbench is .* there and 0.0.9 here")
    (tmp_path / "bin" / "srun").write_text('#!/bin/sh\necho "srun: error: no ${2} $3 $4" >&2\nexit 1\n')
    refused("no --time=10 --partition=gpu --gpus-per-node=2")
    assert not (programs / "options").exists()
    assert not list(results.glob(".probe*"))


def test_what_is_cancelled_saves(tmp_path: Path, programs: Path) -> None:
    launcher = connect(SlurmSettings(), tmp_path)
    launcher.submit(units("endless"), Surroundings(str(tmp_path / "suite"), working=str(tmp_path), retries=3))
    while not (tmp_path / "endless").exists():
        time.sleep(0.05)
    launcher.cancel()
    deadline = time.monotonic() + 30
    while list(programs.glob("*.queued")) or not (tmp_path / "endless.saved").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (tmp_path / "endless").read_text() == "x"


def test_a_machine_without_slurm_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="sbatch"):
        connect(SlurmSettings(), tmp_path)


def test_what_slurm_refuses_is_one_sentence(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "sbatch"
    program.write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified' >&2\nexit 1\n")
    launcher = connect(SlurmSettings(partition="nowhere"), tmp_path)
    with pytest.raises(ConfigError, match="invalid partition") as caught:
        launcher.submit(units("short", "long"), Surroundings(str(tmp_path / "suite")))
    assert "\n" not in str(caught.value)
