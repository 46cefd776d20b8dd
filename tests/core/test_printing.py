"""No terminal, encoding or reader ends a command."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cqlbench.commands.main import main
from cqlbench.core.printing import plain, unfailing

SMOKE = ("bench", "dataset=embedded/tiny-hopper-v0", "budget=smoke", "seeds=1", "steps=2", "device=cpu")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("69.7 ± 1.0", "69.7 +- 1.0"), ("0–100 × α", "0-100 x alpha"), ("Müller", "Muller"), ("日", "?")],
)
def test_what_an_encoding_lacks_is_spelled_out(text, expected):
    assert plain(text) == expected


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1"])
def test_a_terminal_that_is_not_utf_8_shows_a_run_and_keeps_its_files(world, monkeypatch, encoding):
    shown = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    monkeypatch.setattr(sys, "stdout", shown)
    assert main([*SMOKE, f"results={world / 'results'}"]) == 0
    text = shown.buffer.getvalue().decode(encoding)
    assert "95 % interval" in text
    assert "?" not in text
    (table,) = (world / "results").rglob("table.md")
    assert "±" in table.read_text(encoding="utf-8")
    assert shown.errors == "strict"


def test_a_command_in_the_c_locale_prints(tmp_path):
    locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "cqlbench", "results", "list", "results=ü"],
        capture_output=True,
        env=os.environ | locale,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"cqlbench: ")


def test_a_reader_that_has_gone_costs_nothing(world, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main([*SMOKE, f"results={world / 'results'}"]) == 0
    assert list((world / "results" / "runs").rglob("seed-0.json"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_behind_standard_output_is_told(world, monkeypatch, capsys):
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main([*SMOKE, f"results={world / 'results'}"]) == 2
    assert "Standard output" in capsys.readouterr().err
    assert list((world / "results" / "runs").rglob("seed-0.json"))


def test_standard_streams_that_were_closed_are_no_trouble(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with unfailing() as problems:
        sys.stdout.write("into nothing")
    assert (sys.stdout, problems) == (None, [])


class Failing(io.TextIOBase):
    """A stream without a file, whose writes fail."""

    def write(self, text):
        raise OSError("gone")


@pytest.mark.parametrize("kind", ["closed", "no file"])
def test_a_stream_that_is_closed_or_no_file_raises_nothing(monkeypatch, kind):
    stream = io.StringIO() if kind == "closed" else Failing()
    monkeypatch.setattr(sys, "stdout", stream)
    with unfailing() as problems:
        if kind == "closed":
            stream.close()
        sys.stdout.write("a")
        sys.stdout.flush()
    assert len(problems) == 1
