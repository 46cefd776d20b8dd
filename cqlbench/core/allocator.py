"""Makes the C allocator keep the memory that a gradient step frees for the next one."""

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_NEVER = 2**31 - 1
_TOP_PAD = 32 << 20


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
        (_M_MMAP_MAX, 0),
        (_M_TRIM_THRESHOLD, _NEVER),
        (_M_TOP_PAD, _TOP_PAD),
    )
    accepted = [mallopt(parameter, value) == 1 for parameter, value in settings]
    return all(accepted)
