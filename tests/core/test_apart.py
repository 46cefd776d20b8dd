import signal
import time
from types import FrameType

import pytest

from cqlbench.core.apart import apart
from cqlbench.core.errors import UserError


def test_it_returns_what_the_function_does_in_another_process() -> None:
    assert apart("math:hypot", 3, 4) == 5
    assert apart("os:getpid") != apart("os:getppid")


def test_a_users_error_is_one_here_and_a_bug_a_bug() -> None:
    with pytest.raises(UserError, match="threads=many"):
        apart("cqlbench.core.threads:threads_of", "many")
    with pytest.raises(RuntimeError, match="math domain error"):
        apart("math:sqrt", -1)
    with pytest.raises(UserError, match="status 9"):
        apart("os:_exit", 9)


def test_it_ends_with_whoever_waits_for_it() -> None:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before, began = signal.signal(signal.SIGALRM, interrupt), time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 1)
    try:
        with pytest.raises(KeyboardInterrupt):
            apart("time:sleep", 100)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < 30
