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
    needed = [("numpy", "99", ""), ("no-such-package", "1.2", ""), ("no-such-extra", "1", "video")]
    monkeypatch.setattr(doctor, "_requirements", lambda: iter(needed))
    (world / "file").touch()
    monkeypatch.setenv("CQLBENCH_CACHE", str(world / "file"))
    assert main(["doctor"]) == 2
    shown = capsys.readouterr()
    assert "3 faults" in shown.err
    for word in ("numpy>=99", "'no-such-package>=1.2'", "CQLBENCH_CACHE", "brings no-such-extra"):
        assert word in shown.out


@pytest.mark.parametrize(
    ("version", "least", "older"),
    [("2.9", "2.11", True), ("2.11.0+cpu", "2.11", False), ("3", "2.11", False), ("0.14", "0.14.1", True)],
)
def test_versions_are_compared_as_numbers(version: str, least: str, older: bool) -> None:
    assert doctor._older(version, least) is older
