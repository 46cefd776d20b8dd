"""Makes the C allocator keep the memory that a gradient step frees for the next one."""

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_LARGEST_MMAP_THRESHOLD = 32 << 20
"""glibc refuses more than half of a heap's largest size (malloc/arena.c)."""
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Have glibc serve activations from its heap and not give the heap back to the kernel in between.

    By default every tensor above 128 KiB may be a fresh mapping, whose pages the kernel zeroes and faults in
    one by one: at CQL's sizes as much time as the arithmetic. Says whether the allocator took the settings;
    other C libraries keep their own.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = (
        (_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD),
        (_M_TRIM_THRESHOLD, _NEVER),
        (_M_TOP_PAD, _LARGEST_MMAP_THRESHOLD),
    )
    return all([mallopt(parameter, value) == 1 for parameter, value in settings])
