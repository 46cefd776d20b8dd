"""How many threads compute, and how they wait for each other. Imports no torch, which must come later."""

import os
import sys

from cqlbench.errors import ConfigError

_SPINS = 2_000
"""Turns of libgomp's waiting loop, some 40 µs; by default 300,000, several milliseconds.

Measured on two cores: a gradient step with 3 seeds is as fast as by default (with 1,000 turns 4 % slower,
without any 30 %), and beside two busy processes it is twice as fast.
"""


def wait_briefly() -> None:
    """Have a thread that waits for others of its parallel region leave its core to other processes soon.

    Does nothing once torch is imported, since libgomp reads its settings when it is loaded, and nothing where
    the user's environment says how to wait. No number depends on it.
    """
    if "torch" not in sys.modules and not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = str(_SPINS)


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
