"""Published dataset files: downloaded once, resumed when cut off, trusted only when size and sha256 agree."""

import contextlib
import hashlib
import os
import sys
import time
from pathlib import Path

import requests
from filelock import FileLock
from tqdm import tqdm

from cqlbench.data.cards import Card
from cqlbench.data.places import expanded
from cqlbench.errors import DatasetError
from cqlbench.paths import cache_dir

_ATTEMPTS = 4
_CHUNK = 1 << 16  # what a cut connection may cost
_TIMEOUT = (5, 30)  # seconds to connect, and between two pieces


def offline() -> bool:
    """Whether `CQLBENCH_OFFLINE` forbids the network."""
    return os.environ.get("CQLBENCH_OFFLINE", "") not in ("", "0")


def reachable(card: Card) -> bool:
    """Whether one of the card's addresses answers within a few seconds."""
    for url in () if offline() else card.urls:
        with contextlib.suppress(requests.RequestException):
            if requests.head(url, timeout=3, allow_redirects=True).ok:
                return True
    return False


def candidates(card: Card) -> list[Path]:
    """Local files that have the published size: our own download first, then D4RL's folder."""
    d4rl = expanded(os.environ.get("D4RL_DATASET_DIR") or "~/.d4rl/datasets")
    places = [_download_path(card), *(d4rl / url.rpartition("/")[2] for url in card.urls)]
    return [path for path in places if card.bytes is not None and _size(path) == card.bytes]


def fetch(card: Card, progress: bool = True) -> Path:
    """The card's published file, downloaded if it is not on this machine yet.

    Args:
        card: a card with `urls`, `bytes` and `sha256`.
        progress: show a bar while downloading, on a terminal only.

    Raises:
        DatasetError: it cannot be reached, or is not the published file, or the cache cannot be written.
    """
    if not card.urls or card.bytes is None or card.sha256 is None:
        raise DatasetError(f"'{card.id}' cannot be downloaded: its card has no urls, bytes and sha256.")
    for path in candidates(card):
        if _sha256(path) == card.sha256:
            return path
    if offline():
        raise DatasetError(
            f"'{card.id}' has no intact copy on this machine; unset CQLBENCH_OFFLINE to download it."
        )
    target = _download_path(card)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(target.name + ".lock")):
            if target.is_file() and _sha256(target) == card.sha256:
                return target  # another process was first
            _download_from_any(card, target, progress)
    except OSError as error:
        raise DatasetError(
            f"The download cache {target.parent} cannot be written ({error.strerror or error}); "
            "set CQLBENCH_CACHE to a folder that can."
        ) from error
    return target


def _download_path(card: Card) -> Path:
    return cache_dir() / "downloads" / f"{card.id}.hdf5"


def _download_from_any(card: Card, target: Path, progress: bool) -> None:
    part = target.with_name(target.name + ".part")
    problems = []
    for url in card.urls:
        try:
            _download(card, url, part, progress)
        except (requests.RequestException, DatasetError) as error:
            problems.append(f"{url}: {_reason(error)}")
            continue
        part.replace(target)
        return
    raise DatasetError(
        f"'{card.id}' cannot be downloaded ({'; '.join(problems)}); check the network, or put the file at "
        f"{target}."
    )


def _download(card: Card, url: str, part: Path, progress: bool) -> None:
    """Fill `part` until it is the published file; a cut connection goes on where it stopped."""
    for attempt in range(_ATTEMPTS):
        try:
            _append(card, url, part, progress)
        except requests.RequestException as error:
            answered = error.response is not None and error.response.status_code < 500
            if attempt + 1 == _ATTEMPTS or answered:
                raise
            time.sleep(0.2 * 2**attempt)
            continue
        if part.stat().st_size >= (card.bytes or 0):
            break
    size = part.stat().st_size
    if size < (card.bytes or 0):
        raise DatasetError(f"it stopped at {size} of {card.bytes} bytes; run again to go on from there")
    digest = _sha256(part)
    if size != card.bytes or digest != card.sha256:
        part.unlink()
        raise DatasetError(
            f"it has {size} bytes and sha256 {digest[:12]}…, not the published {card.bytes} and "
            f"{(card.sha256 or '')[:12]}…"
        )


def _append(card: Card, url: str, part: Path, progress: bool) -> None:
    have = part.stat().st_size if part.exists() else 0
    if have >= (card.bytes or 0):
        have = 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        response.raise_for_status()
        resumed = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        bar = tqdm(
            desc=card.id,
            total=card.bytes,
            initial=have if resumed else 0,
            unit="B",
            unit_scale=True,
            disable=not (progress and sys.stderr.isatty()),
        )
        with part.open("ab" if resumed else "wb") as file, bar:
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())


def _size(path: Path) -> int | None:
    """Bytes of the file at `path`; `None` if it is none, or is in a folder that may not be looked into."""
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(error: Exception) -> str:
    if isinstance(error, requests.ConnectionError):
        return "the host cannot be reached or cut the connection"
    if isinstance(error, requests.Timeout):
        return "the host does not answer"
    return str(error)
