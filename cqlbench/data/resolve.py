"""What a user typed -> one dataset id with its card, and the reason in one line."""

import difflib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from cqlbench.core.errors import DatasetError
from cqlbench.core.paths import expanded, kind
from cqlbench.data import fetch
from cqlbench.data.buffer_files import is_built
from cqlbench.data.cards import SOURCES, Card, all_cards, damaged_cards
from cqlbench.data.readers.d4rl import has_discrete_actions
from cqlbench.data.readers.minari import files
from cqlbench.data.readers.minari_metadata import action_bounds, discrete_actions

_SUFFIXES = (".hdf5", ".h5", ".npz")

DISCRETE = "discrete"
"""The preset in `benchmarks/preset` for discrete actions."""


@dataclass(frozen=True)
class Resolution:
    """The one dataset that a name stands for here and now.

    Attributes:
        dataset_id: the full id; for a path, the absolute path.
        card: its card.
        reason: why this one, in one line without a full stop, to be printed.
        path: the file or folder to read; `None`: it is fetched or made from the card.
    """

    dataset_id: str
    card: Card
    reason: str
    path: Path | None = None


def resolve(name: str, source: str = "auto") -> Resolution:
    """Find the dataset that `name` means.

    Args:
        name: a dataset id, a short name (`hopper-medium`, `hopper-medium-v2`), or a path. Should a folder be
            called like a dataset, `./hopper-medium` means the folder.
        source: where a short name is looked up. `auto` takes D4RL's file if it is cached or can be reached,
            then an embedded dataset, then a local Minari dataset. A version in a short name is a published
            dataset's: on `auto`, an embedded one does not stand in for it.

    Raises:
        DatasetError: nothing is called that, or it cannot be had here; the message says what to do.
    """
    check_source(source)
    _check_name(name)
    cards = all_cards()
    if name in cards:
        if source not in ("auto", cards[name].source):
            raise DatasetError(f"'{name}' is not of the source '{source}'; leave the source out.")
        return _located(cards[name], f"'{name}' is a full dataset id")
    if name.endswith(_SUFFIXES) or name.startswith((".", "/", "~")):
        return _path(expanded(name), source)
    matches = _matching(name, cards, source)
    if not matches:
        if kind(Path(name)) is not None:
            return _path(Path(name), source)
        raise DatasetError(_unknown(name, cards, source))
    if source != "auto":
        newest = max(matches, key=lambda card: card.version)
        return _located(newest, f"'{name}' from the source '{source}'")
    return _automatic(name, matches)


def find_card(name: str, source: str = "auto") -> Card:
    """The card of a full id or a short name: D4RL's newest, else Minari's, else an embedded one.

    Raises:
        DatasetError: nothing is called that; the message has the nearest names.
    """
    check_source(source)
    _check_name(name)
    cards = all_cards()
    if name in cards:
        return cards[name]
    matches = _matching(name, cards, source)
    if not matches:
        raise DatasetError(" ".join([_unknown(name, cards, source), *damaged_cards()]))
    return min(matches, key=lambda card: (SOURCES.index(card.source), -card.version))


def check_source(source: str) -> None:
    """Refuse a source that is none.

    Raises:
        DatasetError: the message says which there are.
    """
    if source not in ("auto", *SOURCES):
        raise DatasetError(f"There is no source '{source}'; it is auto, {', '.join(SOURCES)}.")


def published_key(card: Card) -> str:
    """The buffer's source key of a published file: its hash, if known, and how it is read."""
    reading = [*card.quirks, *(card.observation_keys or ()), *filter(None, [card.actions])]
    return "+".join([f"sha256:{fetch.known_sha256(card)}", *reading])


def file_key(resolution: Resolution) -> str:
    """The buffer's source key of a dataset that is read from files.

    Raises:
        DatasetError: the files have vanished.
    """
    card = resolution.card
    if resolution.path is None or card.source == "imported":
        return published_key(card)
    return "+".join([_fingerprint(resolution.path), *(card.observation_keys or ())])


def _fingerprint(path: Path) -> str:
    facts = []
    for file in files(path) if kind(path) == "folder" else [path]:
        try:
            status = file.stat()
        except OSError as error:
            raise DatasetError(f"{file} cannot be read ({error.strerror}); check the path.") from error
        facts.append(f"file:{file}:{status.st_size}:{status.st_mtime_ns}")
    return "\n".join(facts)


def _automatic(name: str, matches: list[Card]) -> Resolution:
    by_source: dict[str, Card] = {}
    for card in sorted(matches, key=lambda card: card.version):
        by_source[card.source] = card
    published = by_source.get("d4rl")
    why = "there is no D4RL dataset of that name"
    if published is not None:
        if is_built(published.id, published_key(published)) or fetch.candidates(published):
            return Resolution(published.id, published, f"'{name}' is D4RL's file, cached on this machine")
        if fetch.reachable(published):
            return Resolution(published.id, published, f"'{name}' is D4RL's file, to be downloaded")
        host = "CQLBENCH_OFFLINE is set" if fetch.offline() else "its host cannot be reached"
        why = f"{published.id} is not cached and {host}"
    if "embedded" in by_source:
        card = by_source["embedded"]
        return Resolution(card.id, card, f"'{name}' is {card.id}, because {why}")
    if "minari" in by_source and fetch.minari_folder(by_source["minari"]) is not None:
        return _located(by_source["minari"], f"'{name}' is the local Minari dataset, because {why}")
    if published is None and "minari" in by_source:
        return _located(by_source["minari"], f"'{name}' is a Minari dataset")
    if "imported" in by_source:
        return _located(by_source["imported"], f"'{name}' is the dataset that you imported")
    put = published.urls[0] if published else "its file"
    raise DatasetError(
        f"'{name}' cannot be had here: {why}, and no embedded or local Minari dataset stands in for it; "
        f"connect to the network, or put {put} into ~/.d4rl/datasets."
    )


def _located(card: Card, reason: str) -> Resolution:
    if card.source == "imported":
        return Resolution(card.id, card, reason, Path(card.imported_from))
    if card.source != "minari":
        return Resolution(card.id, card, reason)
    folder = fetch.minari_folder(card)
    if folder is None and fetch.offline():
        raise DatasetError(
            f"'{card.id}' is not on this machine and CQLBENCH_OFFLINE is set; unset it to download the "
            f"dataset, or copy the folder from a machine where `minari download {card.name}` has run."
        )
    if folder is None:
        return Resolution(card.id, card, f"{reason}, to be downloaded")
    return Resolution(card.id, _with_preset(card, folder), reason, folder)


def _with_preset(card: Card, folder: Path) -> Card:
    """Discrete actions need settings of their own, unless the card names some."""
    return replace(card, preset=DISCRETE) if not card.preset and discrete_actions(folder) else card


def _path(path: Path, source: str) -> Resolution:
    found = kind(path)
    if found is None:
        raise DatasetError(f"There is no file or folder {path}; check the path.")
    path = path.resolve()
    schema = "minari" if found == "folder" else "d4rl"
    if schema == "d4rl" and path.suffix not in _SUFFIXES:
        raise DatasetError(
            f"{path} is neither an .hdf5 file, an .npz file, nor the folder of a Minari dataset."
        )
    if source not in ("auto", schema):
        raise DatasetError(f"{path} is read as {schema}, not as '{source}'; leave the source out.")
    what = "a Minari folder" if found == "folder" else "a file with D4RL's keys"
    card = Card(id=str(path), source="path", notes=("Given by its path: no environment, so not evaluated.",))
    if found == "folder":
        low, high = action_bounds(path) or (card.action_low, card.action_high)
        card = _with_preset(replace(card, action_low=low, action_high=high), path)
    elif has_discrete_actions(path):
        card = replace(card, preset=DISCRETE)
    return Resolution(card.id, card, f"'{path.name}' is {what}; without a card it is not evaluated", path)


def _check_name(name: str) -> None:
    """Refuse what no dataset can be called.

    Raises:
        DatasetError: it is empty, or holds characters that no message and no record can hold.
    """
    if not name.strip():
        raise DatasetError("No dataset was named; say for instance dataset=hopper-medium.")
    # Control characters (NUL among them) and bytes that are no text: no message and no record can hold them.
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise DatasetError(f"The dataset name {name!a} holds characters that no name has; type it again.")


def _matching(name: str, cards: Mapping[str, Card], source: str) -> list[Card]:
    """The cards of `source` that a short name, with or without version, stands for."""
    found = []
    for card in cards.values():
        versioned = name in (card.name, f"{card.short_name}-v{card.version}")
        # Versions count within a source: on `auto`, a version is of D4RL or stands in a whole name.
        stands_in = source == "auto" and (
            card.source == "embedded" or (card.source == "minari" and name != card.name)
        )
        wanted = name == card.short_name or (versioned and not stands_in)
        if wanted and source in ("auto", card.source):
            found.append(card)
    return found


def _unknown(name: str, cards: Mapping[str, Card], source: str) -> str:
    """That there is no such dataset, and the nearest names, in one sentence."""
    of_source = [card for card in cards.values() if source in ("auto", card.source)]
    names = {card.short_name for card in of_source} | {card.id for card in of_source}
    names |= {
        f"{card.short_name}-v{card.version}"
        for card in of_source
        if source != "auto" or card.source == "d4rl"
    }
    close = difflib.get_close_matches(name, sorted(names), n=3, cutoff=0.5)
    place = "" if source == "auto" else f" of the source '{source}'"
    advice = (
        f"did you mean {' or '.join(repr(option) for option in close)}?"
        if close
        else "`cqlbench data list` prints all names."
    )
    return f"There is no dataset '{name}'{place}; {advice}"
