"""Progress of long work: a bar with rate and time left on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Self

import rich.progress
from rich.console import Console

_LINES = 10
_WANTED = ContextVar("_WANTED", default=True)


@contextmanager
def progress_wanted(wanted: bool) -> Iterator[None]:
    """Whether any progress is shown that is begun within."""
    before = _WANTED.set(wanted)
    try:
        yield
    finally:
        _WANTED.reset(before)


class Progress:
    """How far some work has come, on standard error.

    On a terminal it is a bar. Elsewhere (a file, CI) it is a plain line at every tenth of the work, the last
    of them when all is done.

    Args:
        total: how much there is to do, at least 1.
        title: what is being done.
        unit: what is counted, in the singular.
        done: how much of it was done before, and does not count for the rate.
        shown: whether to say anything at all.
        clock: seconds.
    """

    def __init__(
        self,
        total: int,
        *,
        title: str,
        unit: str,
        done: int = 0,
        shown: bool = True,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._total = total
        self._title = title
        self._unit = f"{unit}s"
        self._before = done
        self._shown = shown and _WANTED.get()
        self._clock = clock
        self._bar: rich.progress.Progress | None = None
        self._note = ""
        self._lines = 0
        self._started = 0.0

    def __enter__(self) -> Self:
        self._started = self._clock()
        self._lines = self._before * _LINES // self._total
        if self._shown and sys.stderr.isatty():
            self._bar = rich.progress.Progress(
                *(
                    "{task.description}",
                    rich.progress.BarColumn(),
                    "{task.percentage:.0f} %",
                    "{task.fields[line]}",
                ),
                console=Console(file=sys.stderr),
                refresh_per_second=4,
            )
            self._bar.add_task(self._title, total=self._total, completed=self._before, line=self._note)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def note(self, text: str) -> None:
        """Show `text` (the latest score) with the progress from now on."""
        self._note = text

    def update(self, done: int) -> None:
        """Report that `done` of the total are done; saying the same again is harmless."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, line=self._line(done))
        elif self._shown and done * _LINES >= (self._lines + 1) * self._total:
            self._lines = done * _LINES // self._total
            sys.stderr.write(f"{self._title}: {self._line(done)}\n")
            sys.stderr.flush()

    def _line(self, done: int) -> str:
        elapsed = max(self._clock() - self._started, 1e-9)
        pace = max(done - self._before, 1) / elapsed
        left = (self._total - done) / pace
        note = f", {self._note}" if self._note else ""
        rate = f"{pace:.0f} {self._unit}/s, {left:.0f} s left"
        return f"{done:,}/{self._total:,} {self._unit}, {rate}{note}"
