"""Processes that never sleep, beside what is measured."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_SPIN = """
import os
parent = os.getppid()
print(flush=True)
while os.getppid() == parent:
    for _ in range(100_000):
        pass
"""


@contextmanager
def spinning(processes: int) -> Iterator[None]:
    """So many of them, from the beginning to the end; none is left."""
    command = [sys.executable, "-S", "-c", _SPIN]
    with ExitStack() as children:
        for _ in range(processes):
            child = children.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            children.callback(child.kill)
            assert child.stdout is not None
            child.stdout.readline()  # it spins
        yield
