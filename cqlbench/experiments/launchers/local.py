"""Units as child processes of this one, so many at once."""

import queue
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from cqlbench.core.text import counted
from cqlbench.experiments.launchers.settings import LocalSettings
from cqlbench.experiments.launchers.unit import Outcome, Surroundings, Unit, run_unit


class LocalLauncher:
    """See `Launcher`."""

    def __init__(self, settings: LocalSettings, results: Path) -> None:
        del results  # which is this machine's own
        self.slots = settings.at_once
        self.where = f"this machine, {counted(settings.cpus, 'core')} each"
        self._pool = ThreadPoolExecutor(settings.at_once, thread_name_prefix="cqlbench unit")
        self._cancelled = threading.Event()
        self._numbers: dict[Future[Outcome], int] = {}
        self._ended: queue.Queue[Future[Outcome]] = queue.Queue()

    def submit(self, units: Sequence[Unit], surroundings: Surroundings) -> None:
        """See `Launcher`."""
        for unit in units:
            future = self._pool.submit(self._run, unit, surroundings)
            self._numbers[future] = unit.number
            future.add_done_callback(self._ended.put)

    def wait(self, seconds: float) -> Mapping[int, Outcome]:
        """See `Launcher`."""
        ended = list[Future[Outcome]]()
        try:
            ended.append(self._ended.get(timeout=seconds))
            while True:
                ended.append(self._ended.get_nowait())
        except queue.Empty:
            return {self._numbers.pop(each): each.result() for each in ended}

    def cancel(self) -> None:
        """See `Launcher`."""
        self._cancelled.set()
        self._pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        """See `Launcher`."""
        self._pool.shutdown()

    def _run(self, unit: Unit, surroundings: Surroundings) -> Outcome:
        try:
            return run_unit(unit, surroundings, self._cancelled)
        except OSError as error:
            return Outcome(2, f"It cannot be run ({error.strerror or error}).")
