"""How far a suite is: a live table on a terminal, plain lines elsewhere, and a file for other terminals."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cqlbench.core import atomic
from cqlbench.core.lease import EXPIRY
from cqlbench.core.text import duration
from cqlbench.experiments.launchers.packing import Packing
from cqlbench.experiments.launchers.unit import Outcome

_FILE = "status.json"
_EVERY = 2.0
_LINES = 10
_SHOWN = 20


class Running(msgspec.Struct, frozen=True):
    """A unit that runs: where, for how many seconds, how often it was started, whether it gives no sign."""

    name: str
    host: str
    seconds: float
    attempt: int
    silent: bool = False


class Status(msgspec.Struct, frozen=True):
    """How far a suite is.

    Attributes:
        where: on what it runs.
        total: how many units there are, those recorded before not counted.
        done: how many have made their records.
        failed: name and problem of those that could not.
        seconds: how long it has run.
        left: seconds that it will take, if that can be said.
    """

    title: str
    where: str
    total: int
    done: int
    failed: Sequence[tuple[str, str]]
    running: Sequence[Running]
    seconds: float
    left: float | None

    @property
    def waiting(self) -> int:
        """How many have not begun."""
        return max(self.total - self.done - len(self.failed) - len(self.running), 0)

    @property
    def line(self) -> str:
        """All of it in one line."""
        left = "" if self.left is None else f", about {duration(self.left)} left"
        return (
            f"{self.done} of {self.total} done, {len(self.running)} running, {self.waiting} waiting,"
            f" {len(self.failed)} failed{left}"
        )

    def shown(self) -> Group:
        """All of it as a table."""
        table = Table("unit", "where", "for", box=None)
        for each in self.running[:_SHOWN]:
            again = f" (start {each.attempt})" if each.attempt > 1 else ""
            silent = ", gives no sign of life" if each.silent else ""
            table.add_row(Text(each.name), Text(f"{each.host}{again}{silent}"), duration(each.seconds))
        more = len(self.running) - _SHOWN
        parts = [Text(f"Suite    {self.title} on {self.where}: {self.line}")]
        parts += [Text(f"Failed   {name}: {problem}") for name, problem in self.failed[-_SHOWN:]]
        return Group(
            *parts, *([table] if self.running else []), *([f"… and {more} more"] if more > 0 else [])
        )


class Board:
    """Shows how far the units of a suite are; a context manager. `folder` is `Surroundings.folder`."""

    def __init__(self, folder: Path, title: str, packing: Packing, console: Console) -> None:
        self._folder, self._title, self._packing, self._console = folder, title, packing, console
        self._names = {unit.number: unit.name for unit in packing.units}
        self._units = {unit.key: unit for unit in packing.units}
        self._began = time.monotonic()
        self._live: Live | None = None
        self._next, self._tenths, self._named = 0.0, 0, 0

    def __enter__(self) -> Self:
        if self._console.is_terminal and sys.stdout.isatty():
            self._live = Live(console=self._console, refresh_per_second=2, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, outcomes: Mapping[int, Outcome]) -> None:
        """Show what has changed; a terminal and the file are not written more often than every `_EVERY` s."""
        last = len(outcomes) == len(self._names)
        if time.monotonic() < self._next and not last:
            return
        self._next = time.monotonic() + _EVERY
        status = self._status(outcomes)
        with suppress(OSError):  # the suite matters more than its picture
            atomic.replace(self._folder / _FILE, msgspec.json.encode(status))
        if self._live is not None:
            self._live.update(status.shown())
            if not last:
                return
        for name, problem in status.failed[self._named :]:
            self._console.print(Text(f"Failed   {name}: {problem}"), soft_wrap=True)
        self._named = len(status.failed)
        tenths = len(outcomes) * _LINES // len(self._names)
        if tenths > self._tenths or last:
            self._tenths = tenths
            self._console.print(Text(f"Units    {status.line}"), soft_wrap=True)

    def _status(self, outcomes: Mapping[int, Outcome]) -> Status:
        failed = [
            (self._names[each], outcome.message) for each, outcome in outcomes.items() if outcome.message
        ]
        return Status(
            title=self._title,
            where=self._packing.where,
            total=len(self._names),
            done=len(outcomes) - len(failed),
            failed=failed,
            running=self._running(outcomes),
            seconds=time.monotonic() - self._began,
            left=self._left(outcomes),
        )

    def _running(self, outcomes: Mapping[int, Outcome]) -> list[Running]:
        running = []
        now = _time_of(self._folder / _FILE)
        for path in sorted((self._folder / "running").glob("*.json")):
            unit = self._units.get(path.stem)
            if unit is None or unit.number in outcomes:
                continue
            with suppress(OSError, ValueError, KeyError):  # it has ended just now
                about = json.loads(path.read_bytes())
                silent = now - _time_of(path) > EXPIRY
                seconds = max(time.time() - about["since"], 0.0)
                running.append(Running(unit.name, about["host"], seconds, about["attempt"], silent))
        return running

    def _left(self, outcomes: Mapping[int, Outcome]) -> float | None:
        waiting = len(self._names) - len(outcomes)
        if not waiting:
            return None
        if len(outcomes) >= min(self._packing.slots, len(self._names)):
            return (time.monotonic() - self._began) / len(outcomes) * waiting
        if self._packing.total is None:
            return None
        return max(self._packing.total - (time.monotonic() - self._began), 0.0)


def statuses(results: Path) -> list[tuple[Status, float]]:
    """Of each suite that was launched into a results folder, and how many seconds ago that was said."""
    found = []
    for path in sorted((results / "suites").glob(f"*/{_FILE}")):
        with suppress(OSError, msgspec.MsgspecError):
            status = msgspec.json.decode(path.read_bytes(), type=Status)
            found.append((status, time.time() - _time_of(path)))
    return found


def _time_of(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
