"""Jobs of a gradient step shared by threads of one core each.

Every job is computed by one thread, whichever it is, so no number depends on how many there are. OpenMP
divides each operation instead, and all its threads wait, spinning, for one that another process keeps off its
core.
"""

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial

import torch

from cqlbench.core.devices import one_thread


class _Work:
    """Jobs of one call of `share`; `left` is how many have not begun, `running` how many have not ended."""

    def __init__(self, job: Callable[[int], None], jobs: int, gradients: bool) -> None:
        self.job, self.jobs, self.left, self.running = job, jobs, jobs, 0
        self.error: BaseException | None = None
        self.gradients = gradients
        # Autocast is a thread's own.
        self.precision = torch.get_autocast_dtype("cpu"), torch.is_autocast_enabled("cpu")

    def do(self, number: int) -> None:
        try:
            with torch.set_grad_enabled(self.gradients), torch.autocast("cpu", *self.precision):
                self.job(number)
        except BaseException as error:  # noqa: BLE001 (whoever shared the jobs raises it)
            self.error, self.left = error, 0


class _Crew:
    """The threads of one `shared`: the one within it, and helpers that sleep where nothing is shared."""

    def __init__(self, helpers: int) -> None:
        self._changed, self._open, self._closed = threading.Condition(threading.Lock()), list[_Work](), False
        self._count, self._helpers = helpers, list[Future[None]]()

    def share(self, work: _Work) -> None:
        if not self._helpers:
            self._helpers = [_pool().submit(self._help) for _ in range(self._count)]
        with self._changed:
            self._open.append(work)
            self._changed.notify_all()
            while self._do_one_of([work]):
                pass
            while work.running:  # those who do its last jobs may share theirs, opened later
                later = self._open[self._open.index(work) + 1 :]
                if not self._do_one_of(later):
                    self._changed.wait()
            self._open.remove(work)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for helper in self._helpers:
            if not helper.cancel():
                helper.result()

    def _help(self) -> None:
        token = _crew.set(self)
        with self._changed:
            while not self._closed:
                if not self._do_one_of(self._open):
                    self._changed.wait()
        _crew.reset(token)

    def _do_one_of(self, works: list[_Work]) -> bool:
        """Do a job of the first that has one left, the lock given away meanwhile."""
        work = next((each for each in works if each.left), None)
        if work is None:
            return False
        number, work.left, work.running = work.jobs - work.left, work.left - 1, work.running + 1
        self._changed.release()
        try:
            work.do(number)
        finally:
            self._changed.acquire()
            work.running -= 1
            if not work.running:
                self._changed.notify_all()
        return True


_crew: ContextVar[_Crew | None] = ContextVar("crew", default=None)


@contextmanager
def shared() -> Iterator[None]:
    """Within, `share` uses as many threads as torch does outside, and all else is computed by this one."""
    crew = _Crew(torch.get_num_threads() - 1)
    token = _crew.set(crew)
    try:
        with one_thread():
            yield
    finally:
        _crew.reset(token)
        crew.close()


def is_shared() -> bool:
    """Whether this thread is within `shared`, or does a job for one that is."""
    return _crew.get() is not None


def share(job: Callable[[int], None], jobs: int, *, gradients: bool = False) -> None:
    """Do `job(0)` to `job(jobs - 1)`, in any order; threads that find none left help with jobs of jobs.

    Args:
        job: takes its number, and may share jobs of its own.
        jobs: how many.
        gradients: whether autograd records what a job does.
    """
    work = _Work(job, jobs, gradients)
    crew = _crew.get()
    if crew is None or jobs == 1:
        crew = _Crew(0)
    crew.share(work)
    if work.error is not None:
        raise work.error


def evenly(count: int, parts: int) -> list[slice]:
    """`count` things in so many parts, each as large as the next or one larger."""
    size, larger = divmod(count, parts)
    ends = [part * size + min(part, larger) for part in range(parts + 1)]
    return [slice(*each) for each in itertools.pairwise(ends)]


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), "share", partial(torch.set_num_threads, 1))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
