"""One file from the first address that gives it: resumed when cut off, kept when size and sha256 agree."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import requests

from cqlbench.core.errors import DatasetError
from cqlbench.core.progress import Progress
from cqlbench.data.local import sha256_of, size_of

# Not pooch 1.9: it begins again after every cut. Not huggingface_hub 2.4: a cut costs up to 10 MB, 500 and
# 503 are final, and pieces of a file that changed meanwhile are joined (both by tests/hostile_server.py).

_ATTEMPTS = 4  # in a row that bring no further byte
_SILENT_ATTEMPTS = 2  # of those, to a host that takes the connection or the request and then says nothing
_CHUNK = 1 << 16  # what a cut connection may cost
TIMEOUT = (5.0, 30.0)
"""Seconds to connect, and between two pieces."""


@dataclass(frozen=True)
class Wanted:
    """A file to be had.

    Attributes:
        title: what messages and progress call it.
        urls: where it can be had, tried in this order; proxies are those of the environment.
        bytes: its size; `None` if that is not known.
        sha256: its checksum; `None` if that is not known: the file is then taken as it comes.
        known_from: where size and checksum come from, for messages.
    """

    title: str
    urls: tuple[str, ...]
    bytes: int | None = None
    sha256: str | None = None
    known_from: str = "published"


class _CutOffError(requests.RequestException):
    """An answer that ended early or cannot be used: worth another attempt."""


def download(wanted: Wanted, target: Path) -> None:
    """Bring `wanted` to `target`, which appears only when it is whole.

    What a cut connection has brought stays beside `target` and is gone on from, by this or a later call. Two
    calls for one target must not run at once: the caller holds a lock.

    Raises:
        DatasetError: no address gives the file; the message says what happened at each.
        OSError: it cannot be written.
    """
    part = target.with_name(target.name + ".part")
    problems = []
    for url in wanted.urls:
        try:
            _complete(wanted, url, part)
        except (requests.RequestException, DatasetError) as error:
            problems.append(f"{url}: {reason(error)}")
            continue
        part.replace(target)
        return
    raise DatasetError(
        f"'{wanted.title}' cannot be downloaded ({'; '.join(problems)}); check the network, or put the file "
        f"at {target}."
    )


def reason(error: Exception) -> str:
    """What went wrong with a request, in a few words."""
    if isinstance(error, _CutOffError | DatasetError):
        return str(error)
    # in mid-file it is a ConnectionError
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "the host does not answer"
    if isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError):
        return "the host cannot be reached or cut the connection"
    if isinstance(error, requests.JSONDecodeError) or not isinstance(error, requests.RequestException):
        return "the answer is no listing"
    return str(error)


def _complete(wanted: Wanted, url: str, part: Path) -> None:
    if wanted.sha256 is None:
        part.unlink(missing_ok=True)  # nothing would tell whether its bytes and the rest belong together
    inherited = part.exists()
    _fill(wanted, url, part)
    problem = _mismatch(wanted, part)
    if problem and inherited:  # an earlier call's bytes may be to blame, or another address's
        part.unlink()
        _fill(wanted, url, part)
        problem = _mismatch(wanted, part)
    if problem:
        part.unlink()
        raise DatasetError(problem)


def _mismatch(wanted: Wanted, part: Path) -> str:
    size, digest = size_of(part), sha256_of(part)
    if (wanted.bytes is None or size == wanted.bytes) and wanted.sha256 in (None, digest):
        return ""
    expected = [] if wanted.bytes is None else [f"{wanted.bytes}"]
    expected += [] if wanted.sha256 is None else [f"{wanted.sha256[:12]}…"]
    return (
        f"it has {size} bytes and sha256 {digest[:12]}…, not the {wanted.known_from} {' and '.join(expected)}"
    )


def _fill(wanted: Wanted, url: str, part: Path) -> None:
    """Append to `part` until the server has no more to give, over as many connections as it takes."""
    idle, most, validator = 0, size_of(part), [""]
    while True:
        try:
            _append(wanted, url, part, validator)
        except requests.RequestException as error:
            idle = 0 if size_of(part) > most else idle + 1
            most = max(most, size_of(part))
            patience = _SILENT_ATTEMPTS if isinstance(error, requests.Timeout) else _ATTEMPTS
            if idle >= patience or not _worth_another(error):
                raise
            time.sleep(0.2 * 2**idle)
        else:
            return


def _worth_another(error: requests.RequestException) -> bool:
    if error.response is not None:
        return error.response.status_code >= 500 or error.response.status_code in (408, 429)
    cut = requests.exceptions.ChunkedEncodingError
    return isinstance(error, _CutOffError | requests.ConnectionError | requests.Timeout | cut)


def _append(wanted: Wanted, url: str, part: Path, validator: list[str]) -> None:
    have = size_of(part)
    if have and (wanted.bytes is not None and have > wanted.bytes):
        part.unlink()
        have = 0
    if have and have == wanted.bytes:
        return
    headers = {"Accept-Encoding": "identity"}
    if have and wanted.sha256 is not None:
        headers["Range"] = f"bytes={have}-"
    elif have and validator[0]:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator[0]}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416:
            part.unlink()
            raise _CutOffError("it has fewer bytes than were already here")
        response.raise_for_status()
        start = _start(response)
        if start not in (0, have):
            raise _CutOffError(f"it sent bytes from {start} on instead of from {have}")
        validator[0] = _validator(response)
        total = wanted.bytes or _announced(response, start)
        _write(response, part, start, total, wanted.title)
    size = size_of(part)
    if total is not None and size < total:
        raise _CutOffError(f"it stopped at {size} of {total} bytes")


def _write(response: requests.Response, part: Path, start: int, total: int | None, title: str) -> None:
    left = max(1, (total or 0) - start)
    bar = Progress(left, title=title, unit="byte", shown=total is not None)
    with part.open("r+b" if start else "wb") as file, bar:
        file.seek(start)
        try:
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                bar.update(file.tell() - start)
                if total is not None and file.tell() > total:
                    break
        finally:
            file.flush()
            os.fsync(file.fileno())


def _start(response: requests.Response) -> int:
    """The offset of the answer's first byte."""
    if response.status_code != 206:
        return 0
    given = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    if not given.isdecimal():
        raise _CutOffError("it sent a part without saying which")
    return int(given)


def _announced(response: requests.Response, start: int) -> int | None:
    length = response.headers.get("Content-Length", "")
    return start + int(length) if length.isdecimal() else None


def _validator(response: requests.Response) -> str:
    """What tells a later request whether the file is still the same; empty: nothing does."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
