"""How many threads compute. Imports no torch."""

import os

from cqlbench.core.errors import ConfigError


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_of(name: str) -> int | None:
    """How many threads `name`, a number or `auto`, asks for; `None` leaves it to torch.

    Raises:
        ConfigError: it is no number, or there are not so many cores.
    """
    if name == "auto":
        return None
    cores = usable_cores()
    if not (name.isascii() and name.isdecimal() and 1 <= int(name) <= cores):
        raise ConfigError(
            f"threads={name} must be auto or a number from 1 to {cores}, the cores usable here."
        )
    return int(name)
