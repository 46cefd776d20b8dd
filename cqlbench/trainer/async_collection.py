"""Rows that an asynchronous collector writes to the replay buffer while a trainer trains."""

import time
from typing import Any

from cqlbench.core.errors import ConfigError


def new_rows(trainer: Any, written: int) -> int:
    """How many rows the collector of `trainer` has added to `written`; waits where training needs some.

    Raises:
        ConfigError: there are none, and none will come.
    """
    needed = getattr(trainer.collector, "init_random_frames", 0) or 0
    while True:
        collecting = is_collecting(trainer.collector)  # asked first: it may end just after its last row
        rows: int = trainer._replay_write_count() - written
        if rows or (collecting and written and trainer.collected_frames >= needed):
            return rows
        if not collecting:
            raise ConfigError(
                f"The collector has stopped after {trainer.collected_frames} of {trainer.total_frames}"
                " frames: see its own error, if there is one, or give it more 'total_frames'."
            )
        time.sleep(0.01)


def is_collecting(collector: Any) -> bool:
    """Whether a started asynchronous collector's thread, or every one of its processes, is alive."""
    if callable(running := getattr(collector, "is_running", None)):
        return bool(running())
    return all(process.is_alive() for process in getattr(collector, "procs", ()))
