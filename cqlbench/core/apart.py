"""A function in a process of its own, which takes what it imports and holds along when it ends."""

import importlib
import multiprocessing
import signal
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from cqlbench.core import signals
from cqlbench.core.errors import USER_ERROR, UserError
from cqlbench.core.printing import incomplete, unfailing


def named(name: str) -> Callable[..., Any]:
    """The function `module:name`."""
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def apart(name: str, *arguments: Any) -> Any:
    """What the function `module:name` returns for `arguments`, in a new process; all of it is pickled.

    Raises:
        UserError: as the function raised it; or its process was killed.
        RuntimeError: the function raised another error, whose traceback this holds.
    """
    context = multiprocessing.get_context("spawn")  # a fork would bring along other libraries' threads
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(there, name, arguments), name=name)
    process.start()
    there.close()
    try:
        result, problem, status = here.recv()
    except EOFError:
        process.join()
        raise UserError(
            f"A process of this command was killed (status {process.exitcode}); is its memory large enough?"
        ) from None
    except BaseException:
        process.terminate()
        raise
    finally:
        process.join()
    if status is not None:
        error = UserError(problem)
        error.status = status
        raise error
    if problem:
        raise RuntimeError(problem)
    return result


def _answer(to: Connection, name: str, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches whoever waits for us, and ends us
    with suppress(signals.Stopped, OSError), signals.at_once():
        to.send(_outcome(name, arguments))


def _outcome(name: str, arguments: tuple[Any, ...]) -> tuple[Any, str, int | None]:
    """What a function returned; or the problem and its exit status, `None` with a bug's traceback."""
    try:
        with unfailing() as unwritten:
            result = named(name)(*arguments)
    except UserError as error:
        return None, str(error), error.status
    except Exception:  # noqa: BLE001 (whoever waits raises it)
        return None, traceback.format_exc(), None
    if unwritten:
        return None, incomplete(unwritten[0]), USER_ERROR
    return result, "", None
