"""Signals that end the program: at once, or at the next point where nothing is lost."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

Handler = Callable[[int, FrameType | None], None]


class Stopped(KeyboardInterrupt):
    """A signal wants the program to end.

    Attributes:
        note: what has become of the work, a clause.
    """

    def __init__(self, number: int, note: str = "nothing is left half-written") -> None:
        super().__init__(number, note)
        self.number = number
        self.note = note

    @property
    def status(self) -> int:
        """The exit status that tells a shell which signal it was."""
        return 128 + self.number

    def __str__(self) -> str:
        return f"interrupted ({signal.Signals(self.number).name}); {self.note}."


class Paused(Stopped):
    """The signal has waited for a point where everything is in order: what was done can be saved."""


@contextmanager
def at_once() -> Iterator[None]:
    """Within it, a signal raises `Stopped` wherever the program stands."""
    with _handled_by(_raise):
        yield


@contextmanager
def deferred() -> Iterator[Callable[[], None]]:
    """Within it, a signal waits for the next call of what this yields, which then raises `Paused`.

    A second SIGINT raises `Stopped` at once: somebody pressed Ctrl-C twice. A second SIGTERM does not, since
    `make` passes on the one that its whole process group got.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            _raise(number, frame)
        received.append(number)

    def check() -> None:
        if received:
            raise Paused(received[0])

    with _handled_by(note):
        yield check
    check()


@contextmanager
def _handled_by(handler: Handler) -> Iterator[None]:
    former: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
        for number in _SIGNALS:
            # Ignored means that somebody wants it ignored: nohup, or a shell that put us in the background.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                former[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in former.items():
            signal.signal(number, before)


def _raise(number: int, frame: FrameType | None) -> None:
    del frame
    raise Stopped(number)
