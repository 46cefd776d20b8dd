"""Progress: a bar on a terminal, ten plain lines elsewhere, nothing when it is not wanted."""

import io
import sys
from collections.abc import Callable

import pytest

from cqlbench.core.progress import Progress, progress_wanted


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Callable[[io.StringIO], io.StringIO]:
    """Puts a stream in the place of standard error: in the test, since pytest sets it anew after fixtures."""

    def replace(stream: io.StringIO) -> io.StringIO:
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    return replace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_plain_line_has_counts_rate_time_left_and_note(stderr) -> None:
    shown = stderr(io.StringIO())
    clock = Clock()
    with Progress(4_000, title="training", unit="step", clock=clock) as progress:
        progress.note("score 41.0")
        clock.now += 8.0
        progress.update(1_000)
    assert shown.getvalue() == "training: 1,000/4,000 steps, 125 steps/s, 24 s left, score 41.0\n"


def test_what_was_done_before_does_not_count_for_the_rate(stderr) -> None:
    shown = stderr(io.StringIO())
    clock = Clock()
    with Progress(4_000, title="training", unit="step", done=3_000, clock=clock) as progress:
        clock.now += 4.0
        progress.update(3_600)
    assert shown.getvalue() == "training: 3,600/4,000 steps, 150 steps/s, 3 s left\n"
    bar = stderr(Terminal())
    with Progress(60, title="t", unit="row", done=40) as progress:
        progress.update(60)
    assert "100 %" in bar.getvalue()


@pytest.mark.parametrize("total", [10, 95, 100, 1003])
def test_ten_lines_whatever_the_total_and_the_last_says_that_all_is_done(stderr, total) -> None:
    shown = stderr(io.StringIO())
    with Progress(total, title="t", unit="row") as progress:
        for done in range(1, total + 1):
            progress.update(done)
            progress.update(done)
    lines = shown.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[-1].startswith(f"t: {total:,}/{total:,} rows, ")
    assert "\r" not in shown.getvalue()


def test_a_leap_over_several_tenths_is_one_line(stderr) -> None:
    shown = stderr(io.StringIO())
    with Progress(3, title="t", unit="row") as progress:
        for done in range(4):
            progress.update(done)
    assert [line.split(",")[0] for line in shown.getvalue().splitlines()] == [
        "t: 1/3 rows",
        "t: 2/3 rows",
        "t: 3/3 rows",
    ]


def test_work_of_an_earlier_time_does_not_count_in_the_rate(stderr) -> None:
    shown = stderr(io.StringIO())
    clock = Clock()
    with Progress(4_000, title="training", unit="step", done=2_500, clock=clock) as progress:
        progress.update(2_500)
        clock.now += 4.0
        progress.update(3_000)
    assert shown.getvalue() == "training: 3,000/4,000 steps, 125 steps/s, 8 s left\n"


def test_a_bar_on_a_terminal_with_title_note_and_rate(stderr) -> None:
    shown = stderr(Terminal())
    with Progress(60, title="embedded/toy-v0", unit="row") as progress:
        progress.note("score 41.0")
        progress.update(40)
        progress.update(60)
    text = shown.getvalue()
    assert "embedded/toy-v0" in text
    assert "100 %" in text
    assert "60/60 rows" in text
    assert " rows/s" in text
    assert "score 41.0" in text


def test_the_bar_is_closed_when_the_work_fails(stderr) -> None:
    shown = stderr(Terminal())
    progress = Progress(60, title="t", unit="row")
    with pytest.raises(KeyboardInterrupt), progress:
        raise KeyboardInterrupt
    assert shown.getvalue().endswith("\n\x1b[?25h"), "the cursor is back"


def test_nothing_is_said_if_it_is_not_wanted(stderr) -> None:
    for stream in (io.StringIO(), Terminal()):
        shown = stderr(stream)
        with Progress(2, title="t", unit="row", shown=False) as progress:
            progress.note("n")
            progress.update(2)
        assert shown.getvalue() == ""
        with progress_wanted(False), Progress(2, title="t", unit="row") as progress:
            progress.update(2)
        assert shown.getvalue() == ""
        with Progress(2, title="t", unit="row") as progress:
            progress.update(2)
        assert "2/2 rows" in shown.getvalue()
