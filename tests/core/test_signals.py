"""Signals end the program where nothing is lost."""

import signal
import threading

import pytest

from cqlbench.core import signals


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_program_at_once(number: int, status: int) -> None:
    before = handlers()
    with pytest.raises(signals.Stopped, match=signal.Signals(number).name) as raised, signals.at_once():
        signal.raise_signal(number)
    assert raised.value.status == status
    assert handlers() == before


def test_a_deferred_signal_waits_for_the_next_check() -> None:
    before = handlers()
    done = []

    def work() -> None:
        with signals.deferred() as check:
            check()
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            done.append("work")
            check()
            done.append("too much")

    with pytest.raises(signals.Paused) as raised:
        work()
    assert raised.value.number == signal.SIGTERM
    assert done == ["work"]
    assert handlers() == before


def test_a_signal_that_was_never_checked_ends_the_program_afterwards() -> None:
    done = []

    def work() -> None:
        with signals.deferred():
            signal.raise_signal(signal.SIGINT)
            done.append("work")

    with pytest.raises(signals.Paused):
        work()
    assert done == ["work"]


def test_a_second_ctrl_c_does_not_wait() -> None:
    done = []

    def work() -> None:
        with signals.deferred():
            signal.raise_signal(signal.SIGINT)
            done.append("work")
            signal.raise_signal(signal.SIGINT)
            done.append("too much")

    with pytest.raises(signals.Stopped) as raised:
        work()
    assert not isinstance(raised.value, signals.Paused)
    assert done == ["work"]


def test_deferring_ends_with_its_block() -> None:
    with signals.at_once():
        with signals.deferred():
            pass
        with pytest.raises(signals.Stopped):
            signal.raise_signal(signal.SIGTERM)


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.at_once(), signals.deferred() as check:
            signal.raise_signal(signal.SIGHUP)
            check()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_nothing_is_handled() -> None:
    seen = []

    def work() -> None:
        with signals.at_once(), signals.deferred() as check:
            check()
            seen.append(handlers())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [handlers()]
