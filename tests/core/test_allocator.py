"""The allocator's settings: taken, and worth it."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from cqlbench.core.allocator import keep_freed_memory
def work():
    for _ in range(5):
        tensors = [torch.ones(12 << 20) for _ in range(2)]  # 48 MiB each, a layer of ten seeds' critics
def faults():
    work()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
given_back = faults()
assert keep_freed_memory()
print(given_back, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    given_back, kept = map(int, done.stdout.split())
    assert kept < given_back / 2
