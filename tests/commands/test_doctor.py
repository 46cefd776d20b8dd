import re
from pathlib import Path

import pytest

from cqlbench.commands import doctor
from cqlbench.commands.main import main


def test_a_sound_machine_is_described_and_left_as_it_is(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", f"results={world / 'results'}"]) == 0
    shown = capsys.readouterr().out
    for word in ("torch", "threads", "envpool", "yes: Hopper-v4", "not there yet", "CQLBENCH_OFFLINE is set"):
        assert word in shown
    assert "1, made here when needed; 1 can be played" in shown
    assert not (world / "cache").exists()


def test_what_stands_in_the_way_is_named_and_the_status_is_2(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    declared = [
        "numpy>=99",
        "no-such-package>=1.2",
        "no-such-system; platform_system == 'none'",
        "no-such-extra; extra == 'video'",
        "torch[opt-einsum]>=2; extra == 'video'",
        "mujoco; extra == 'robotics'",
    ]
    of_torch = ["no-such-part; extra == 'opt-einsum'", "no-such-other; extra == 'other'"]
    requires = {"cqlbench": declared, "torch": of_torch, "mujoco": []}
    monkeypatch.setattr(doctor.metadata, "requires", requires.get)
    monkeypatch.setattr(doctor, "_extra_names", lambda: {"video", "robotics"})
    (world / "file").touch()
    monkeypatch.setenv("CQLBENCH_CACHE", str(world / "file"))
    assert main(["doctor"]) == 2
    shown = capsys.readouterr()
    assert "3 faults" in shown.err
    for word in ("numpy>=99", "'no-such-package>=1.2'", "CQLBENCH_CACHE"):
        assert word in shown.out
    assert "brings no-such-extra, no-such-part\n" in shown.out
    assert re.search(r"robotics +yes", shown.out)
