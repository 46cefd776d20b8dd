"""Printing that never ends a command: any encoding will do, and so will a reader that has gone."""

import codecs
import errno
import io
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console

_ERRORS = "cqlbench-readable"
_PLAIN = {
    "±": "+-", "–": "-", "—": "-", "−": "-", "×": "x", "·": "-", "…": "...", "→": "->", "≤": "<=", "≥": ">=",
    "†": "+", "α": "alpha", "γ": "gamma", "ρ": "rho", "τ": "tau", "√": "sqrt", "─": "-", "█": "#", "’": "'",
}  # fmt: skip


def plain(text: str) -> str:
    """`text` in ASCII: signs by a common spelling, letters without their accents, and `?` for the rest."""
    bare = (unicodedata.normalize("NFKD", each).encode("ascii", "ignore").decode() for each in text)
    return "".join(_PLAIN.get(each) or letter or "?" for each, letter in zip(text, bare, strict=True))


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return plain(error.object[error.start : error.end]), error.end


codecs.register_error(_ERRORS, _spelled)


class _Unfailing:
    """A text stream whose writes never raise; what cannot be written is dropped from then on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | ValueError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if self.error is None:
            try:
                self._stream.write(text)
            except (OSError, ValueError) as error:
                self._drop(error)
        return len(text)

    def flush(self) -> None:
        if self.error is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._drop(error)

    def _drop(self, error: OSError | ValueError) -> None:
        self.error = error
        # What is buffered still would be written when Python ends, and fail again.
        with suppress(OSError, ValueError, AttributeError):  # not every stream is a file
            number = self._stream.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)


@contextmanager
def unfailing() -> Iterator[list[str]]:
    """Standard output and error never raise meanwhile; characters that their encoding lacks are spelled out.

    Yields:
        A list that holds, at the end, why standard output is incomplete, if it is. A reader that has seen
        enough (`| head`) is no reason.
    """
    streams, problems = (sys.stdout, sys.stderr), list[str]()
    before = [getattr(stream, "errors", None) for stream in streams]
    wrapped = [_wrapped(stream) for stream in streams]
    sys.stdout, sys.stderr = (cast("TextIO", stream) for stream in wrapped)
    try:
        yield problems
    finally:
        for wrapper in wrapped:
            wrapper.flush()
        sys.stdout, sys.stderr = streams
        for stream, errors in zip(streams, before, strict=True):
            if errors is not None and hasattr(stream, "reconfigure"):
                stream.reconfigure(errors=errors)
        error = wrapped[0].error
        if error is not None and getattr(error, "errno", None) != errno.EPIPE:
            problems.append(getattr(error, "strerror", None) or str(error))


def incomplete(problem: str) -> str:
    """What a user is told of standard output that could not be written."""
    return f"Standard output cannot be written ({problem}); what it says is incomplete."


def console(*, tables: bool) -> "Console":
    """What commands print to; `tables`: whether some are wide."""
    from rich.console import Console  # help and mistakes need not wait for it

    # A terminal has its width; a file or a pipe has room for wide tables.
    wide = 160 if tables and not sys.stdout.isatty() else None
    return Console(soft_wrap=not tables, highlight=False, width=wide)


def _wrapped(stream: TextIO | None) -> _Unfailing:
    if stream is None:  # closed by whoever started the program
        stream = io.StringIO()
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors=_ERRORS)
    return _Unfailing(stream)
