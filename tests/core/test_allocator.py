"""The allocator's settings: taken, and worth it."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from cqlbench.core.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def work():
    for _ in range(5):
        tensors = [torch.ones(12 << 20) for _ in range(2)]  # 48 MiB each, a layer of ten seeds' critics
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    def faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    kept, given_back = faults("keep"), faults("default")
    assert kept < given_back / 2
