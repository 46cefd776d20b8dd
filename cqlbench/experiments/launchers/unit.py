"""A unit: one seed batch, or part of one, as the ordinary command in a process of its own."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cqlbench.core import atomic
from cqlbench.core.errors import BUG

_POLL = 0.1
_TOUCH = 10.0
# The command must not outlive whoever started it, who may be killed: then nobody would know of it. It gets
# SIGTERM, and saves. `prctl` is Linux's. SLURM's warning, SIGUSR2, is for whoever started it.
_BOUND = """
import ctypes, os, signal, sys
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 15)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(143)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


@dataclass(frozen=True)
class Unit:
    """What a launcher runs.

    Attributes:
        number: counts the units that a process launches, from 1.
        name: for people: dataset, algorithm, seeds.
        arguments: those of Python: `-m cqlbench bench …`.
    """

    number: int
    name: str
    arguments: tuple[str, ...]

    @property
    def key(self) -> str:
        """The same for each process that launches it."""
        return hashlib.sha256(repr(self.arguments).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Surroundings:
    """What all units of a suite share.

    Attributes:
        folder: where they say how they do: `running/` and `logs/`.
        environment: variables that they get besides their machine's own.
        retries: how often a command is started again that was killed.
        working: the folder that they run in, where there is one of that name.
    """

    folder: str
    environment: Mapping[str, str] = field(default_factory=dict)
    retries: int = 0
    working: str = ""

    def note(self, unit: Unit) -> Path:
        """The file that is there while the unit runs, and says where."""
        return Path(self.folder) / "running" / f"{unit.key}.json"

    def log(self, unit: Unit) -> Path:
        """What the unit's command prints."""
        return Path(self.folder) / "logs" / f"{unit.key}.log"


@dataclass(frozen=True)
class Outcome:
    """What became of a unit.

    Attributes:
        status: its exit status; negative or above 128 where a signal ended it.
        message: its error, a sentence; empty where it made its records.
        host: where it ran last.
        seconds: how long, the attempts before included.
    """

    status: int
    message: str = ""
    host: str = ""
    seconds: float = 0.0

    @property
    def crashed(self) -> bool:
        """Whether it was an error of our own."""
        return self.status == BUG


def run_unit(unit: Unit, surroundings: Surroundings, cancelled: threading.Event | None = None) -> Outcome:
    """Run a unit's command to its end; again if it was killed, unless that was wanted.

    Once `cancelled` is set, the command is asked to save and to end.
    """
    began, host, status = time.monotonic(), socket.gethostname(), 0
    cancelled = cancelled or threading.Event()
    note, log = surroundings.note(unit), surroundings.log(unit)
    for path in (note, log):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        for attempt in range(1, surroundings.retries + 2):
            about = {"host": host, "pid": os.getpid(), "since": time.time(), "attempt": attempt}
            atomic.replace(note, json.dumps(about).encode())
            start = log.stat().st_size if log.exists() else 0
            status = _once(unit, surroundings, host, note, cancelled)
            if 0 <= status <= 128 or cancelled.is_set():
                break
    finally:
        note.unlink(missing_ok=True)
    message = "" if status in (0, 1) else _last_words(log, start, status)
    return Outcome(status, message, host, time.monotonic() - began)


def _once(unit: Unit, surroundings: Surroundings, host: str, note: Path, cancelled: threading.Event) -> int:
    with surroundings.log(unit).open("ab") as log:
        log.write(f"# {host}: {' '.join(unit.arguments)}\n".encode())
        log.flush()
        process = subprocess.Popen(  # noqa: S603 (our own command)
            [sys.executable, "-S", "-c", _BOUND, str(os.getpid()), *unit.arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | dict(surroundings.environment),
            cwd=surroundings.working if os.path.isdir(surroundings.working) else None,  # noqa: PTH112 ("" is no folder)
            start_new_session=True,  # Ctrl-C reaches us, and we decide
        )
    ended = threading.Event()
    attendant = threading.Thread(target=_attend, args=(process, note, cancelled, ended), daemon=True)
    attendant.start()
    try:
        return process.wait()
    except BaseException:  # a signal of ours: it saves before we go
        process.send_signal(signal.SIGTERM)
        process.wait()
        raise
    finally:
        ended.set()
        attendant.join()


def _attend(
    process: subprocess.Popen[bytes], note: Path, cancelled: threading.Event, ended: threading.Event
) -> None:
    """Show that a command runs, and ask it to save and to end once it is cancelled.

    By a thread, so that nobody polls for its end: a suite of short units would wait for that.
    """
    touched, asked = time.monotonic(), False
    while not ended.wait(_POLL):
        if cancelled.is_set() and not asked:
            process.send_signal(signal.SIGTERM)
            asked = True
        if time.monotonic() - touched > _TOUCH:
            with suppress(OSError):  # the unit matters more than its picture
                note.touch()
            touched = time.monotonic()


def _last_words(log: Path, start: int, status: int) -> str:
    """Why a command failed: its own sentence, or the last line that it printed."""
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - 20_000))
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    said = [line.removeprefix("cqlbench: ") for line in lines if line.startswith("cqlbench: ")]
    if status < 0:
        return f"It was killed by {signal.Signals(-status).name} each time it was started; see {log}."
    return f"{(said or lines or ['no output'])[-1]} (status {status}; {log})"
