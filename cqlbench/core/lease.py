"""Leases: what only one process may do at a time, also on folders that machines share.

File locks exclude nobody across hosts on some network file systems. A lease is a file that is created
exclusively, names its holder, and is touched by a heartbeat. One that nobody has touched for `EXPIRY` seconds
is taken over, as is at once one whose process has died on this very machine. Its age is counted on the file
system's clock, by the time of another file that is written beside it, so hosts' clocks do not matter.

A process that was stopped or cut off for longer may have lost its lease: `check` before whatever must not be
written twice. The window that is left is that between `check` and the system call that follows it.
"""

import json
import os
import secrets
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from cqlbench.core.errors import ConfigError, UserError

BEAT = 5.0
"""Seconds between two heartbeats."""
EXPIRY = 60.0
"""Seconds without a heartbeat after which a lease is taken over."""
_POLL = 0.5
_SILENCE = 3.0
"""Seconds of waiting of which nothing is said."""
_ALWAYS = float("inf")
# Of a machine that slept, too: others have gone on meanwhile.
_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class LeaseHeldError(UserError):
    """Another process, which is alive, holds the lease."""


class LeaseLostError(UserError):
    """Another process has taken the lease over."""


@dataclass(frozen=True)
class _Holder:
    host: str
    machine: str
    pid: int
    started: str
    token: str

    @property
    def dead(self) -> bool:
        """Whether it is known to have ended: it ran on this very machine, and does not run any more."""
        return self.machine == _machine() and self.started != _started(self.pid)


@dataclass(frozen=True)
class _Seen:
    """A lease as it was found: its holder (`None`: not written yet, or unreadable) and its time."""

    holder: _Holder | None
    touched: float

    @property
    def token(self) -> str:
        return self.holder.token if self.holder else "unnamed"


class Lease:
    """The right to do what `path` stands for.

    Args:
        path: the lease's file; its folder is made where it is not there.
        what: what it is for, in messages ("the run in 'results/…'").
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self._what = what
        pid = os.getpid()
        self._own = _Holder(socket.gethostname(), _machine(), pid, _started(pid), secrets.token_hex(8))
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="cqlbench lease", daemon=True)
        self._checked = 0.0

    def acquire(self, patience: float = _ALWAYS) -> None:
        """Wait until the lease is free or may be taken over, and hold it.

        Args:
            patience: seconds to wait for a holder that is alive. One that may be dead is waited for in any
                case: it shows itself within `BEAT` seconds, or is taken over after `EXPIRY`.

        Raises:
            LeaseHeldError: another process holds it, and lives.
            OSError: the file cannot be written.
        """
        began, first, told = _now(), None, False
        while not self._create():
            seen = _look(self.path)
            if seen is None:
                continue  # released meanwhile
            if (seen.holder and seen.holder.dead) or _clock(self.path) - seen.touched > EXPIRY:
                self._take_over(seen)
                continue
            first = first if first and first.token == seen.token else seen
            here = seen.holder is not None and seen.holder.machine == _machine()
            holder = f"process {seen.holder.pid} on {seen.holder.host}" if seen.holder else "unnamed"
            if (here or seen.touched > first.touched) and _now() - began >= patience:
                raise LeaseHeldError(f"Another process ({holder}) holds {self._what}.")
            if not told and _now() - began > _SILENCE:
                told = True
                sys.stderr.write(
                    f"cqlbench: waiting for {self._what}, which another process ({holder}) holds.\n"
                )
            time.sleep(min(_POLL, BEAT / 2))
        self._checked = _now()
        self._heart.start()

    def check(self, within: float = 0.0) -> None:
        """Make sure that this process still holds the lease.

        Args:
            within: do not ask the file again if it was asked so many seconds ago.

        Raises:
            LeaseLostError: it does not.
        """
        now = _now()
        if now - self._checked < within:
            return
        seen = _look(self.path)
        if seen is None or seen.token != self._own.token:
            by = f" by process {seen.holder.pid} on {seen.holder.host}" if seen and seen.holder else ""
            raise LeaseLostError(
                f"This process gave no sign of life for {EXPIRY:.0f} seconds, and {self._what} was taken"
                f" over{by}; nothing more is written here."
            )
        self._checked = now

    @property
    def lost(self) -> bool:
        """Whether another process has taken it over."""
        try:
            self.check()
        except LeaseLostError:
            return True
        return False

    def release(self) -> None:
        """Let others have it; one that was lost stays with whoever has it."""
        self._ended.set()
        if self._heart.ident is not None:
            self._heart.join()
        with suppress(LeaseLostError, OSError):
            self.check()
            self.path.unlink()

    def _create(self) -> bool:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except (FileExistsError, FileNotFoundError):  # the latter: its folder was removed just then
            return False
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(self._own), file)
        return True

    def _take_over(self, seen: _Seen) -> None:
        """Replace the lease by one that `acquire` can create, unless it is not as seen any more.

        Whoever replaces a lease first creates a file that is named after it, so of several only one does.
        """
        right = self.path.with_name(f"{self.path.name}.{seen.token}.over")
        try:
            os.close(os.open(right, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except FileExistsError:
            with suppress(FileNotFoundError):  # of a process that was killed just then
                if _clock(self.path) - right.stat().st_mtime > EXPIRY:
                    right.unlink()
            time.sleep(min(_POLL, BEAT / 2))
            return
        try:
            now = _look(self.path)
            if now is not None and (now.token, now.touched) == (seen.token, seen.touched):
                self.path.unlink(missing_ok=True)
        finally:
            right.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            try:
                self.check()
                os.utime(self.path)  # without a time: the file system's own
            except LeaseLostError:
                return
            except OSError:  # it may come back
                continue


@contextmanager
def held(path: Path, what: str, patience: float = _ALWAYS) -> Iterator[Lease]:
    """A lease, held meanwhile; errors as of `Lease.acquire`."""
    lease = Lease(path, what)
    lease.acquire(patience)
    try:
        yield lease
    finally:
        lease.release()


def patience() -> float:
    """Seconds that a run waits for another process that makes it: `CQLBENCH_PATIENCE`, 0 by default.

    A launcher sets it: what it starts again may not have ended yet where it ran before.

    Raises:
        ConfigError: it is no number.
    """
    text = os.environ.get("CQLBENCH_PATIENCE") or "0"
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"CQLBENCH_PATIENCE={text} must be a number of seconds.") from error


def _look(path: Path) -> _Seen | None:
    """The lease as the server has it: opening a file asks for it, where its name alone may be cached."""
    try:
        with path.open("rb") as file:
            content, touched = file.read(), os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return None
    try:
        return _Seen(_Holder(**json.loads(content)), touched)
    except (ValueError, TypeError):
        return _Seen(None, touched)


def _clock(path: Path) -> float:
    """What time it is for the file system of `path`."""
    probe = path.with_name(f".{path.name}.{secrets.token_hex(8)}.clock")
    try:
        probe.write_bytes(b"0")
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _now() -> float:
    return time.clock_gettime(_CLOCK)


def _machine() -> str:
    """The same text for processes that see each other's ids, and no others."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}.{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:  # not Linux
        return f"{socket.gethostname()}.{uuid.getnode()}"


def _started(pid: int) -> str:
    """When a process of this machine started, or that it runs where that is not known; empty: it does not."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2]
    except OSError:
        if Path("/proc/self").exists():
            return ""
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        except OSError:
            pass
        return "running"
    state, started = fields.split()[0], fields.split()[19]
    return "" if state in "ZX" else started
