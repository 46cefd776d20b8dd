"""Published datasets: found on this machine, or downloaded once; trusted only when size and sha256 agree."""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import requests

from cqlbench.core import atomic
from cqlbench.core.errors import DatasetError
from cqlbench.core.lease import Lease, held
from cqlbench.data.cards import Card
from cqlbench.data.download import TIMEOUT, Wanted, download, reason
from cqlbench.data.local import (
    candidates,
    download_path,
    known_sha256,
    minari_folder,
    mirror,
    offline,
    record_path,
    sha256_of,
    size_of,
    writing,
)

_HUB = "https://huggingface.co"
_MINARI_FILES = ("data/metadata.json", "data/main_data.hdf5")


def reachable(card: Card) -> bool:
    """Whether one of the card's addresses, or the mirror's, answers within a few seconds."""
    for url in () if offline() else _addresses(card):
        with contextlib.suppress(requests.RequestException):
            if requests.head(url, timeout=3, allow_redirects=True).ok:
                return True
    return False


def fetch(card: Card) -> Path:
    """The card's published file, downloaded if it is not on this machine yet.

    Where no checksum is published, that of the first copy is recorded, and later copies must have it.

    Raises:
        DatasetError: it cannot be reached, or is not the published file, or the cache cannot be written.
    """
    target = download_path(card)
    with writing(target.parent):
        for path in candidates(card):
            if _trusted(card, path):
                return path
        with _alone(card, target):
            if size_of(target) and _trusted(card, target):
                return target  # another process was first
            known = known_sha256(card)
            known_from = _known_from(record_path(card), card.sha256 is None and known is not None)
            download(Wanted(card.id, _addresses(card), card.bytes, known, known_from), target)
            if not _trusted(card, target):
                target.unlink()
                raise DatasetError(
                    f"What was downloaded for '{card.id}' is not a whole HDF5 file; try again later."
                )
    return target


def fetch_folder(card: Card) -> Path:
    """The card's Minari dataset, downloaded from the hub if it is not on this machine yet.

    The hub says what files there are, their sizes and, of all large ones, their sha256. What is not published
    is recorded at the first download, and later ones must have it.

    Raises:
        DatasetError: it cannot be had, or is not what was published, or the cache cannot be written.
    """
    if found := minari_folder(card):
        return found
    target = download_path(card)
    with writing(target.parent), _alone(card, target) as lease:
        found = minari_folder(card)  # another process may have been first
        return found or _download_folder(card, target, lease)


@contextlib.contextmanager
def _alone(card: Card, target: Path) -> Iterator[Lease]:
    """No other process downloads `target` meanwhile.

    Raises:
        DatasetError: it must not or cannot be downloaded.
    """
    if not card.urls:
        raise DatasetError(f"'{card.id}' cannot be downloaded: its card has no urls.")
    if offline():
        raise DatasetError(
            f"'{card.id}' has no intact copy on this machine; unset CQLBENCH_OFFLINE to download it."
        )
    with held(target.with_name(target.name + ".lease"), f"the download of '{card.id}'") as lease:
        yield lease


def _download_folder(card: Card, target: Path, lease: Lease) -> Path:
    record = target.with_name(target.name + ".sha256.json")
    known = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    part = target.with_name(target.name + ".part")
    for listed, name in _listing(card):
        file = part / name
        digest = known.get(name, listed.sha256)
        wanted = replace(listed, sha256=digest, known_from=_known_from(record, name in known))
        file.parent.mkdir(parents=True, exist_ok=True)
        if not size_of(file) or (digest is not None and sha256_of(file) != digest):
            download(wanted, file)
        known[name] = sha256_of(file)
    atomic.replace(record, json.dumps(known, indent=1, sort_keys=True).encode())
    lease.check()
    return part.replace(target)


def _listing(card: Card) -> list[tuple[Wanted, str]]:
    """The dataset's files, each with its place below the dataset's folder."""
    if isinstance(address := mirror(), str):
        base = f"{address}/{card.name}"
        return [(Wanted(f"{card.id} {name}", (f"{base}/{name}",)), name) for name in _MINARI_FILES]
    problems = []
    for url in card.urls:
        try:
            return _hub_listing(card, url.replace(_HUB, os.environ.get("HF_ENDPOINT") or _HUB))
        except (requests.RequestException, ValueError, TypeError, KeyError) as error:
            problems.append(f"{url}: {reason(error)}")
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
            atomic.create(record_path(card), f"{digest}\n".encode())
        known = known_sha256(card)
    return digest == known


def _addresses(card: Card) -> tuple[str, ...]:
    address = mirror()
    return (*([f"{address}/{card.file}"] if isinstance(address, str) else []), *card.urls)
