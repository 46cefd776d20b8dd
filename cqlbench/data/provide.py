"""A resolved name -> a dataset ready for training: fetched, read or made, checked, and put in its buffer."""

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Literal

from cqlbench.data import embedded, lint
from cqlbench.data.buffer import Dataset, buffer_for, is_built
from cqlbench.data.cards import Card
from cqlbench.data.d4rl import read_d4rl
from cqlbench.data.fetch import candidates, fetch, fetch_folder, known_sha256, minari_folder
from cqlbench.data.minari import main_file, read_minari
from cqlbench.data.places import kind
from cqlbench.data.resolve import Resolution, published_key
from cqlbench.data.transitions import Transitions
from cqlbench.errors import DatasetError


def provide(resolution: Resolution, progress: bool = True) -> Dataset:
    """The dataset behind `resolution`. Its source is read only if no buffer has been made from it yet.

    Args:
        resolution: what `resolve` found.
        progress: show progress of long work on a terminal.

    Raises:
        DatasetError: it cannot be fetched, read, trusted or stored.
    """
    if resolution.card.source == "minari" and resolution.path is None:
        resolution = replace(resolution, path=fetch_folder(resolution.card, progress))
    elif resolution.card.source == "d4rl" and known_sha256(resolution.card) is None:
        fetch(resolution.card, progress)  # the first copy's checksum is the buffer's key

    def load() -> Transitions:
        transitions = _read(resolution, progress)
        card = resolution.card
        try:
            lint.check(transitions, card.action_low, card.action_high)
        except DatasetError as error:
            raise DatasetError(f"{resolution.dataset_id} is refused: {error}") from error
        return transitions

    return buffer_for(resolution.dataset_id, _source_key(resolution), load)


def where(card: Card) -> Literal["ready", "file", ""]:
    """What this machine has of a dataset: its buffer (`ready`), its files (`file`), or nothing."""
    if card.source == "minari":
        folder = minari_folder(card)
        found = folder is not None
    else:
        folder, found = None, card.source == "d4rl" and bool(candidates(card))
    with contextlib.suppress(DatasetError):
        if (found or card.source != "minari") and is_built(
            card.id, _source_key(Resolution(card.id, card, "", folder))
        ):
            return "ready"
    return "file" if found else ""


def _read(resolution: Resolution, progress: bool) -> Transitions:
    if resolution.path is not None:
        path = resolution.path
        return read_minari(path) if kind(path) == "folder" else read_d4rl(path)
    if resolution.card.source == "embedded":
        return embedded.collect(resolution.card, progress=progress)
    return read_d4rl(fetch(resolution.card, progress))


def _source_key(resolution: Resolution) -> str:
    if resolution.path is not None:
        return _fingerprint(resolution.path)
    if resolution.card.source == "embedded":
        return embedded.source_key(resolution.card)
    return published_key(resolution.card)


def _fingerprint(path: Path) -> str:
    file = main_file(path) if kind(path) == "folder" else path
    try:
        status = file.stat()
    except OSError as error:
        raise DatasetError(f"{file} cannot be read ({error.strerror}); check the path.") from error
    return f"file:{file}:{status.st_size}:{status.st_mtime_ns}"
