"""What a user typed -> one dataset id with its card, and the reason in one line."""

import difflib
import os
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path

from cqlbench.data import fetch
from cqlbench.data.buffer import is_built
from cqlbench.data.cards import SOURCES, Card, all_cards
from cqlbench.data.minari import discrete_actions
from cqlbench.data.places import expanded, kind
from cqlbench.errors import DatasetError

_FILE_SUFFIXES = (".hdf5", ".h5")
_DISCRETE = "discrete"
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
    if source not in ("auto", *SOURCES):
        raise DatasetError(f"There is no source '{source}'; it is auto, {', '.join(SOURCES)}.")
    _check_name(name)
    cards = all_cards()
    if name in cards:
        if source not in ("auto", cards[name].source):
            raise DatasetError(f"'{name}' is not of the source '{source}'; leave the source out.")
        return _located(cards[name], f"'{name}' is a full dataset id")
    if name.endswith(_FILE_SUFFIXES) or name.startswith((".", "/", "~")):
        return _path(expanded(name), source)
    matches = _matches(name, cards, source)
    if not matches:
        if kind(Path(name)) is not None:
            return _path(Path(name), source)
        raise DatasetError(_unknown(name, cards, source))
    if source != "auto":
        newest = max(matches, key=lambda card: card.version)
        return _located(newest, f"'{name}' from the source '{source}'")
    return _automatic(name, matches)


def minari_folder(card: Card) -> Path:
    """Where Minari keeps the dataset: under `MINARI_DATASETS_PATH`, or `~/.minari/datasets`."""
    root = os.environ.get("MINARI_DATASETS_PATH") or "~/.minari/datasets"
    return expanded(root) / card.name


def published_key(card: Card) -> str:
    """The buffer's source key of a published file, known before the file is here."""
    return f"sha256:{card.sha256}"


def _check_name(name: str) -> None:
    if not name.strip():
        raise DatasetError("No dataset was named; say for instance dataset=hopper-medium.")
    # Control characters (NUL among them) and bytes that are no text: no message and no record can hold them.
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise DatasetError(f"The dataset name {name!a} holds characters that no name has; type it again.")


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
    if "minari" in by_source and kind(minari_folder(by_source["minari"])) == "folder":
        return _located(by_source["minari"], f"'{name}' is the local Minari dataset, because {why}")
    if published is None and "minari" in by_source:
        return _located(by_source["minari"], f"'{name}' is a Minari dataset")
    put = published.urls[0] if published else "its file"
    raise DatasetError(
        f"'{name}' cannot be had here: {why}, and no embedded or local Minari dataset stands in for it; "
        f"connect to the network, or put {put} into ~/.d4rl/datasets."
    )


def _located(card: Card, reason: str) -> Resolution:
    if card.source != "minari":
        return Resolution(card.id, card, reason)
    folder = minari_folder(card)
    if kind(folder) != "folder":
        raise DatasetError(
            f"'{card.id}' is not on this machine (no folder {folder}); "
            f"run `minari download {card.name}` (of the package minari)."
        )
    return Resolution(card.id, _with_preset(card, folder), reason, folder)


def _with_preset(card: Card, folder: Path) -> Card:
    """Discrete actions need settings of their own, unless the card names some."""
    return card if card.preset or discrete_actions(folder) is None else replace(card, preset=_DISCRETE)


def _path(path: Path, source: str) -> Resolution:
    found = kind(path)
    if found is None:
        raise DatasetError(f"There is no file or folder {path}; check the path.")
    path = path.resolve()
    schema = "minari" if found == "folder" else "d4rl"
    if schema == "d4rl" and path.suffix not in _FILE_SUFFIXES:
        raise DatasetError(f"{path} is neither an .hdf5 file nor the folder of a Minari dataset.")
    if source not in ("auto", schema):
        raise DatasetError(f"{path} is read as {schema}, not as '{source}'; leave the source out.")
    what = "a Minari folder" if found == "folder" else "a file with D4RL's keys"
    card = Card(id=str(path), source="path", notes=("Given by its path: no environment, so not evaluated.",))
    if found == "folder":
        card = _with_preset(card, path)
    return Resolution(card.id, card, f"'{path.name}' is {what}; without a card it is not evaluated", path)


def _matches(name: str, cards: dict[str, Card], source: str) -> list[Card]:
    found = []
    for card in cards.values():
        versioned = name in (card.name, f"{card.short_name}-v{card.version}")
        stands_in = source == "auto" and card.source == "embedded"
        wanted = name == card.short_name or (versioned and not stands_in)
        if wanted and source in ("auto", card.source):
            found.append(card)
    return found


def _unknown(name: str, cards: dict[str, Card], source: str) -> str:
    of_source = [card for card in cards.values() if source in ("auto", card.source)]
    names = {card.short_name for card in of_source} | {card.id for card in of_source}
    names |= {f"{card.short_name}-v{card.version}" for card in of_source if card.source != "embedded"}
    close = difflib.get_close_matches(name, sorted(names), n=3, cutoff=0.6)
    place = "" if source == "auto" else f" of the source '{source}'"
    advice = (
        f"did you mean {' or '.join(repr(option) for option in close)}?"
        if close
        else f"known names are {', '.join(sorted({card.short_name for card in of_source}))}."
    )
    return f"There is no dataset '{name}'{place}; {advice}"
