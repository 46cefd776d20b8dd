"""What this machine has of a dataset, where, and whether it can be played.

Answered without network, h5py, torch or a simulator.
"""

import contextlib
import functools
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Literal

from cqlbench.core.errors import DatasetError
from cqlbench.core.paths import cache_dir, expanded, kind
from cqlbench.data.buffer_files import built, built_from_any_source
from cqlbench.data.cards import Card, all_cards
from cqlbench.data.embedded.policy import policies_return
from cqlbench.data.readers import minari_folder as stored


@dataclass(frozen=True)
class Known:
    """What is known of a dataset without reading it; of what is not known, `None`.

    Attributes:
        card: its card, with the reference scores of the Minari folder that is here.
        cached: whether its buffer is here (`ready`), or its files (`file`), or neither.
        rows: of the source, dropped ones included.
        episodes: of the source.
        mean_return: of the policies that made the data, else of its whole episodes.
    """

    card: Card
    cached: Literal["ready", "file", ""]
    rows: int | None
    episodes: int | None
    mean_return: float | None


def known(card: Card) -> Known:
    """What its card, its behaviour policies, its buffer and its Minari folder say.

    An embedded dataset's buffer counts whichever simulator's version it was made with: to tell those apart,
    the simulator would have to be loaded.
    """
    found, manifest, stated = False, None, {}
    if card.source == "embedded":
        manifest = built_from_any_source(card.id)
    else:
        folder = minari_folder(card) if card.source == "minari" else None
        found = folder is not None or (card.source == "d4rl" and bool(candidates(card)))
        with contextlib.suppress(DatasetError):
            if found or card.source != "minari":
                manifest = built(card.id, file_key(card, folder))
        if folder is not None:
            with contextlib.suppress(DatasetError):
                card, stated = stored.scored(card, folder), stored.metadata_of(folder)
    facts = {"rows": stated.get("total_steps"), "episodes": stated.get("total_episodes"), **(manifest or {})}
    played = policies_return(card.policies)
    return Known(
        card,
        "ready" if manifest else "file" if found else "",
        card.rows or facts.get("rows"),
        card.episodes or facts.get("episodes"),
        played[0] if played else facts.get("returns", {}).get("mean", card.mean_return),
    )


def why_unplayed(card: Card) -> str:
    """Why no policy of its is evaluated here, as far as that shows without a simulator; empty: it may be."""
    spec = card.environment
    if spec is None:
        return card.environment_missing_because or "no environment was named"
    for package, major in card.broken_from.items():
        with contextlib.suppress(metadata.PackageNotFoundError):
            if int(metadata.version(package).partition(".")[0]) >= major:
                return f"its environment cannot be made with {package} {major} or newer"
    if missing := _missing(spec.extra, spec.module.partition(".")[0]):
        advice = f" (`pip install 'cqlbench[{spec.extra}]'`)" if spec.extra else ""
        return f"{missing} is not installed{advice}"
    return ""


@functools.cache
def _missing(extra: str, module: str) -> str:
    """A package of cqlbench's extra, or else a module, that is not installed."""
    marker = re.compile(f"extra == ['\"]{extra}['\"]")
    try:
        declared = metadata.requires("cqlbench") or () if extra else ()
    except metadata.PackageNotFoundError:  # run from its source tree, without being installed
        declared = ()
    for requirement in declared:
        name, _, condition = requirement.partition(";")
        package = re.split(r"[^\w.-]", name.strip())[0]
        try:
            if marker.search(condition):
                metadata.version(package)
        except metadata.PackageNotFoundError:
            return package
    return module if module and find_spec(module) is None else ""


def without_a_card() -> list[Path]:
    """The datasets in Minari's own folder that no card describes: they are named by their path."""
    known = {minari_home() / card.name for card in all_cards().values() if card.source == "minari"}
    found = []
    for folder, inside, _ in os.walk(minari_home(), followlinks=True):
        if "data" in inside:
            found.append(Path(folder))
            inside.clear()
    whole = (folder for folder in found if size_of(folder / "data" / "metadata.json"))
    return sorted(folder for folder in whole if folder not in known)


def candidates(card: Card) -> list[Path]:
    """Local files that may be the published one: our download, D4RL's folder, a mirror that is a folder."""
    d4rl = expanded(os.environ.get("D4RL_DATASET_DIR") or "~/.d4rl/datasets")
    names = [PurePosixPath(url).name for url in card.urls]
    places = [download_path(card), *(d4rl / name for name in names)]
    if isinstance(folder := mirror(), Path):
        places += [folder / name for name in (card.file, *names)]
    return [path for path in places if size_of(path) and card.bytes in (None, size_of(path))]


def minari_home() -> Path:
    """Minari's own place for datasets. Minari, asked for it, would make the folder."""
    return expanded(os.environ.get("MINARI_DATASETS_PATH") or "~/.minari/datasets")


def minari_folder(card: Card) -> Path | None:
    """Where the Minari dataset lies: Minari's own place, a mirror that is a folder, or our downloads."""
    places = [minari_home() / card.name, download_path(card)]
    if isinstance(folder := mirror(), Path):
        places.insert(1, folder / card.name)
    # An interrupted download of Minari's own leaves a folder without data (Minari issue 220).
    return next((place for place in places if kind(place / "data") == "folder"), None)


def known_sha256(card: Card) -> str | None:
    """The published checksum or, where none is published, that of the first copy this machine saw."""
    if card.sha256 is not None:
        return card.sha256
    with contextlib.suppress(OSError):
        return record_path(card).read_text(encoding="ascii").strip() or None
    return None


def file_key(card: Card, path: Path | None) -> str:
    """The buffer's source key of a dataset that is read from `path`, or else from its published file.

    Raises:
        DatasetError: the files have vanished.
    """
    if path is None or card.source == "imported":
        return published_key(card)
    facts = []
    for file in stored.files(path) if kind(path) == "folder" else [path]:
        try:
            status = file.stat()
        except OSError as error:
            raise DatasetError(f"{file} cannot be read ({error.strerror}); check the path.") from error
        facts.append(f"file:{file}:{status.st_size}:{status.st_mtime_ns}")
    return "+".join(["\n".join(facts), *(card.observation_keys or ())])


def published_key(card: Card) -> str:
    """The buffer's source key of a published file: its hash, if known, and how it is read."""
    reading = [*card.quirks, *(card.observation_keys or ()), *filter(None, [card.actions])]
    return "+".join([f"sha256:{known_sha256(card)}", *reading])


def offline() -> bool:
    """Whether `CQLBENCH_OFFLINE` forbids the network."""
    return os.environ.get("CQLBENCH_OFFLINE", "") not in ("", "0")


def mirror() -> str | Path | None:
    """`CQLBENCH_MIRROR`: an address without its last slash, or a folder.

    Raises:
        DatasetError: it is neither.
    """
    text = os.environ.get("CQLBENCH_MIRROR", "")
    if not text or "://" in text:
        return text.rstrip("/") or None
    folder = expanded(text)
    if kind(folder) != "folder":
        raise DatasetError(
            f"CQLBENCH_MIRROR={text} is neither a folder nor an address like https://host/path."
        )
    return folder


def download_path(card: Card) -> Path:
    """Where its download lies: a file, or the folder of a Minari dataset."""
    place = cache_dir() / "downloads" / card.id
    return place if card.source == "minari" else place.with_name(f"{place.name}.hdf5")


def record_path(card: Card) -> Path:
    """Where the checksum of the first copy is kept."""
    return cache_dir() / "downloads" / f"{card.id}.sha256"


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_of(path: Path) -> int:
    """Bytes of the file at `path`; 0 if it is none, or is in a folder that may not be looked into."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Say of an `OSError` that a folder of the cache cannot be written."""
    try:
        yield
    except OSError as error:
        raise DatasetError(
            f"The cache {folder} cannot be written ({error.strerror or error}); "
            "set CQLBENCH_CACHE to a folder that can."
        ) from error
