"""Every job is done once, on one core, by as many threads as there are; one that fails is not lost."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from cqlbench.algorithms.networks.sharing import evenly, is_shared, share, shared


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_every_job_is_done_once_on_one_core_without_gradients(threads: int) -> None:
    done: list[int] = []
    seen: set[tuple[int, bool]] = set()
    workers: set[int] = set()

    def job(number: int) -> None:
        time.sleep(0.01)
        done.append(number)
        workers.add(threading.get_ident())
        seen.add((torch.get_num_threads(), torch.is_grad_enabled()))

    with shared():
        assert is_shared()
        share(job, 7)
    assert sorted(done) == list(range(7))
    assert len(workers) == threads
    assert seen == {(1, False)}
    assert not is_shared()
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


def test_outside_the_calling_thread_does_all_with_its_own_threads(threads: int) -> None:
    workers: set[tuple[int, int]] = set()
    share(lambda _: workers.add((threading.get_ident(), torch.get_num_threads())), 5)
    assert workers == {(threading.get_ident(), threads)}


def test_a_job_that_fails_fails_the_whole_wherever_it_ran(threads: int) -> None:
    def job(number: int) -> None:
        time.sleep(0.01)
        if number == 5:
            raise ZeroDivisionError

    with shared():
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                share(job, 6)
        done: list[int] = []
        share(done.append, 4)
        assert sorted(done) == [0, 1, 2, 3]


def test_no_job_runs_any_more_when_one_has_failed() -> None:
    ended: list[int] = []

    def job(number: int) -> None:
        if number == 0:
            raise ZeroDivisionError
        time.sleep(0.05 * number)
        ended.append(number)
        if number == 1:
            raise ZeroDivisionError

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with shared(), pytest.raises(ZeroDivisionError):
            share(job, 5)
    finally:
        torch.set_num_threads(before)
    count = len(ended)
    time.sleep(0.4)
    assert len(ended) == count


def test_every_job_has_the_precision_of_the_caller(threads: int) -> None:
    kinds: set[torch.dtype] = set()
    square = torch.ones(2, 2)

    def job(number: int) -> None:
        time.sleep(0.01)
        kinds.add((square @ square).dtype)

    with shared(), torch.autocast("cpu", torch.bfloat16):
        share(job, 7)
    assert kinds == {torch.bfloat16}
    kinds.clear()
    with shared():
        share(job, 7)
    assert kinds == {torch.float32}


def test_jobs_of_a_job_are_done_by_threads_left_idle_and_no_more(threads: int) -> None:
    lock, at_once, most, inner = threading.Lock(), 0, 0, []

    def work(number: int) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.01)
        inner.append((number, threading.get_ident()))
        with lock:
            at_once -= 1

    def outer(number: int) -> None:
        assert is_shared()
        assert torch.is_grad_enabled()
        share(lambda each: work(10 * number + each), 6 if number else 1)

    with shared():
        share(outer, 2, gradients=True)
    assert sorted(number for number, _ in inner) == [0, *range(10, 16)]
    assert most <= threads
    assert len({thread for number, thread in inner if number}) == threads


def test_parts_are_even_and_the_larger_first() -> None:
    assert evenly(10, 3) == [slice(0, 4), slice(4, 7), slice(7, 10)]
    assert evenly(4, 1) == [slice(0, 4)]
