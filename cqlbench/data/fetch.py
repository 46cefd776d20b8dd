"""Published datasets: found on this machine, or downloaded once; trusted only when size and sha256 agree."""

import contextlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import requests
from filelock import FileLock

from cqlbench.core import atomic
from cqlbench.core.errors import DatasetError
from cqlbench.core.paths import cache_dir, expanded, kind
from cqlbench.data.cards import Card
from cqlbench.data.download import TIMEOUT, Wanted, download, reason, sha256_of, size_of

_HUB = "https://huggingface.co"
_MINARI_FILES = ("data/metadata.json", "data/main_data.hdf5")


def offline() -> bool:
    """Whether `CQLBENCH_OFFLINE` forbids the network."""
    return os.environ.get("CQLBENCH_OFFLINE", "") not in ("", "0")


def reachable(card: Card) -> bool:
    """Whether one of the card's addresses, or the mirror's, answers within a few seconds."""
    for url in () if offline() else _addresses(card):
        with contextlib.suppress(requests.RequestException):
            if requests.head(url, timeout=3, allow_redirects=True).ok:
                return True
    return False


def candidates(card: Card) -> list[Path]:
    """Local files that may be the published one: our download, D4RL's folder, a mirror that is a folder."""
    d4rl = expanded(os.environ.get("D4RL_DATASET_DIR") or "~/.d4rl/datasets")
    places = [_download_path(card), *(d4rl / PurePosixPath(url).name for url in card.urls)]
    if isinstance(mirror := _mirror(), Path):
        places += [mirror / card.file, *(mirror / PurePosixPath(url).name for url in card.urls)]
    return [path for path in places if size_of(path) and card.bytes in (None, size_of(path))]


def known_sha256(card: Card) -> str | None:
    """The published checksum or, where none is published, that of the first copy this machine saw."""
    if card.sha256 is not None:
        return card.sha256
    with contextlib.suppress(OSError):
        return _record_path(card).read_text(encoding="ascii").strip() or None
    return None


def fetch(card: Card, progress: bool = True) -> Path:
    """The card's published file, downloaded if it is not on this machine yet.

    Where no checksum is published, that of the first copy is recorded, and later copies must have it.

    Args:
        card: a card with `urls`.
        progress: show how far a download has come.

    Raises:
        DatasetError: it cannot be reached, or is not the published file, or the cache cannot be written.
    """
    if not card.urls:
        raise DatasetError(f"'{card.id}' cannot be downloaded: its card has no urls.")
    target = _download_path(card)
    with _writing(target.parent):
        for path in candidates(card):
            if _trusted(card, path):
                return path
        _refuse_offline(card)
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(target.name + ".lock")):
            if size_of(target) and _trusted(card, target):
                return target  # another process was first
            download(_wanted(card), target, progress)
            if not _trusted(card, target):
                target.unlink()
                raise DatasetError(
                    f"What was downloaded for '{card.id}' is not a whole HDF5 file; try again later."
                )
    return target


def minari_home() -> Path:
    """Minari's own place for datasets. Minari, asked for it, would make the folder."""
    return expanded(os.environ.get("MINARI_DATASETS_PATH") or "~/.minari/datasets")


def minari_folder(card: Card) -> Path | None:
    """Where the Minari dataset lies: Minari's own place, a mirror that is a folder, or our downloads."""
    mirror = _mirror()
    places = [
        minari_home() / card.name,
        *([mirror / card.name] if isinstance(mirror, Path) else []),
        _folder_path(card),
    ]
    # An interrupted download of Minari's own leaves a folder without data (Minari issue 220).
    return next((place for place in places if kind(place / "data") == "folder"), None)


def fetch_folder(card: Card, progress: bool = True) -> Path:
    """The card's Minari dataset, downloaded from the hub if it is not on this machine yet.

    The hub says what files there are, their sizes and, of all large ones, their sha256. What is not published
    is recorded at the first download, and later ones must have it.

    Raises:
        DatasetError: it cannot be had, or is not what was published, or the cache cannot be written.
    """
    if found := minari_folder(card):
        return found
    if not card.urls:
        raise DatasetError(f"'{card.id}' cannot be downloaded: its card has no urls.")
    _refuse_offline(card)
    target = _folder_path(card)
    with _writing(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(target.name + ".lock")):
            if found := minari_folder(card):
                return found  # another process was first
            _download_folder(card, target, progress)
    return target


def _download_folder(card: Card, target: Path, progress: bool) -> None:
    record = target.with_name(target.name + ".sha256.json")
    known = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    part = target.with_name(target.name + ".part")
    for listed, name in _listing(card):
        file = part / name
        digest = known.get(name, listed.sha256)
        wanted = replace(listed, sha256=digest, known_from=_known_from(record, name in known))
        file.parent.mkdir(parents=True, exist_ok=True)
        if not size_of(file) or (digest is not None and sha256_of(file) != digest):
            download(wanted, file, progress)
        known[name] = sha256_of(file)
    atomic.replace(record, json.dumps(known, indent=1, sort_keys=True).encode())
    part.replace(target)


def _listing(card: Card) -> list[tuple[Wanted, str]]:
    """The dataset's files, each with its place below the dataset's folder."""
    if isinstance(mirror := _mirror(), str):
        base = f"{mirror}/{card.name}"
        return [(Wanted(f"{card.id} {name}", (f"{base}/{name}",)), name) for name in _MINARI_FILES]
    problems = []
    for url in card.urls:
        try:
            return _hub_listing(card, url.replace(_HUB, os.environ.get("HF_ENDPOINT") or _HUB))
        except requests.JSONDecodeError:
            problems.append(f"{url}: the answer is no listing")
        except requests.RequestException as error:
            problems.append(f"{url}: {reason(error)}")
        except (ValueError, TypeError, KeyError):
            problems.append(f"{url}: the answer is no listing")
    raise DatasetError(
        f"The files of '{card.id}' cannot be listed ({'; '.join(problems)}); check the network, or run "
        f"`minari download {card.name}` (of the package minari) where there is one."
    )


def _hub_listing(card: Card, url: str) -> list[tuple[Wanted, str]]:
    host, _, rest = url.partition("/datasets/")
    repository, _, folder = rest.partition("/tree/main/")
    page: str | None = f"{host}/api/datasets/{repository}/tree/main/{folder}?recursive=true"
    entries: list[dict[str, Any]] = []
    while page:
        with requests.get(page, timeout=TIMEOUT) as response:
            response.raise_for_status()
            entries += [entry for entry in response.json() if entry["type"] == "file"]
            page = response.links.get("next", {}).get("url")
    files = []
    for entry in entries:
        name = str(entry["path"]).removeprefix(f"{folder}/")
        if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
            raise DatasetError(f"The listing of '{card.id}' names the file '{name}', outside of its folder.")
        large = entry.get("lfs") or {}
        address = f"{host}/datasets/{repository}/resolve/main/{entry['path']}"
        files.append((Wanted(f"{card.id} {name}", (address,), int(entry["size"]), large.get("oid")), name))
    if not files:
        raise ValueError
    return files


def _wanted(card: Card) -> Wanted:
    known = known_sha256(card)
    known_from = _known_from(_record_path(card), card.sha256 is None and known is not None)
    return Wanted(card.id, _addresses(card), card.bytes, known, known_from)


def _known_from(record: Path, recorded: bool) -> str:
    return f"checksum of the first copy (delete {record} to take another)," if recorded else "published"


def _trusted(card: Card, path: Path) -> bool:
    """Whether the file has the known checksum; the first whole file of a dataset without one sets it."""
    known = known_sha256(card)
    try:
        if known is None:
            h5py.File(path, "r").close()  # refuses a file that was cut off
        digest = sha256_of(path)
    except OSError:
        return False
    if known is None:
        with contextlib.suppress(FileExistsError):
            atomic.create(_record_path(card), f"{digest}\n".encode())
        known = known_sha256(card)
    return digest == known


def _addresses(card: Card) -> tuple[str, ...]:
    mirror = _mirror()
    return (*([f"{mirror}/{card.file}"] if isinstance(mirror, str) else []), *card.urls)


def _mirror() -> str | Path | None:
    """`CQLBENCH_MIRROR`: an address without its last slash, or a folder."""
    text = os.environ.get("CQLBENCH_MIRROR", "")
    if not text:
        return None
    if "://" in text:
        return text.rstrip("/")
    folder = expanded(text)
    if kind(folder) != "folder":
        raise DatasetError(
            f"CQLBENCH_MIRROR={text} is neither a folder nor an address like https://host/path."
        )
    return folder


def _refuse_offline(card: Card) -> None:
    if offline():
        raise DatasetError(
            f"'{card.id}' has no intact copy on this machine; unset CQLBENCH_OFFLINE to download it."
        )


def _download_path(card: Card) -> Path:
    return cache_dir() / "downloads" / f"{card.id}.hdf5"


def _folder_path(card: Card) -> Path:
    return cache_dir() / "downloads" / card.id


def _record_path(card: Card) -> Path:
    return cache_dir() / "downloads" / f"{card.id}.sha256"


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DatasetError(
            f"The download cache {folder} cannot be written ({error.strerror or error}); "
            "set CQLBENCH_CACHE to a folder that can."
        ) from error
