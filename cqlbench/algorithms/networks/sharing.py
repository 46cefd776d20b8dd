"""Jobs of a gradient step shared by threads of one core each.

Every job is computed by one thread, whichever it is, so no number depends on how many there are. OpenMP
divides each operation instead, and all its threads wait, spinning, for one that another process keeps off its
core.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial

import torch

from cqlbench.core.devices import one_thread

_threads: ContextVar[int | None] = ContextVar("threads", default=None)


@contextmanager
def shared() -> Iterator[None]:
    """Within, `share` uses as many threads as torch does outside, and all else is computed by this one."""
    token = _threads.set(torch.get_num_threads())
    try:
        with one_thread():
            yield
    finally:
        _threads.reset(token)


def is_shared() -> bool:
    """Whether this thread is within `shared`."""
    return _threads.get() is not None


def share(job: Callable[[int], None], jobs: int) -> None:
    """Do `job(0)` to `job(jobs - 1)`, in any order and without gradients."""
    work = partial(_work, job, iter(range(jobs)), _precision())
    helpers = [_pool().submit(work) for _ in range(min(_threads.get() or 1, jobs) - 1)]
    try:
        work()
    finally:
        wait(helpers)  # they write to tensors that are the caller's
    for helper in helpers:
        helper.result()


def _precision() -> tuple[torch.dtype, bool]:
    """This thread's autocast, which other threads do not have."""
    return torch.get_autocast_dtype("cpu"), torch.is_autocast_enabled("cpu")


def _work(job: Callable[[int], None], left: Iterator[int], precision: tuple[torch.dtype, bool]) -> None:
    with torch.no_grad(), torch.autocast("cpu", *precision):
        for number in left:
            job(number)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), "share", partial(torch.set_num_threads, 1))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
