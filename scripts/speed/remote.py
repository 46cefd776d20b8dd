"""A contestant in a process of its own, with the C allocator as other people's programs have it.

The allocator's settings are the process's; ours would speed up what ours is compared with.
"""

import multiprocessing
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

import torch

Make = Callable[[torch.device], Callable[[], None]]
Clock = Callable[[], float]


class Remote:
    """`steps(n)` takes n steps over there and says how many seconds they took.

    Args:
        make: makes the contestant; sent there, so it can be pickled.
        device: where. Threads and the precision of products are this process's own.
        clock: which seconds.
    """

    def __init__(self, make: Make, device: torch.device, clock: Clock = time.perf_counter) -> None:
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        settings = (torch.get_num_threads(), torch.get_float32_matmul_precision())
        arguments = (there, make, str(device), clock, *settings)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        ours = signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with the pipe, and has nothing to say
        self._process.start()
        signal.signal(signal.SIGINT, ours)
        there.close()

    def steps(self, count: int) -> float:
        """Take `count` steps.

        Raises:
            RuntimeError: the process has died; its own error is on standard error.
        """
        try:
            self._here.send(count)
            return float(self._here.recv())
        except (EOFError, BrokenPipeError) as error:
            raise RuntimeError("The process of a compared step has died.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._here.close()
        self._process.join()


def timed(
    step: Callable[[], object], count: int, device: torch.device, clock: Clock = time.perf_counter
) -> float:
    """Seconds that `count` steps take, the device's work included."""
    _synchronize(device)
    start = clock()
    for _ in range(count):
        step()
    _synchronize(device)
    return clock() - start


def _serve(
    there: Connection, make: Make, device_name: str, clock: Clock, threads: int, precision: str
) -> None:
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)
    device = torch.device(device_name)
    with suppress(EOFError, BrokenPipeError):  # whoever asks has ended, and says why
        step = make(device)
        while True:
            there.send(timed(step, there.recv(), device, clock))


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
