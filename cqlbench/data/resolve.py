"""What a user typed -> one dataset id with its card, and the reason in one line."""

import dataclasses
import difflib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from cqlbench.core.errors import DatasetError
from cqlbench.core.paths import expanded, kind
from cqlbench.data.buffer_files import built
from cqlbench.data.cards import SOURCES, Card, all_cards, damaged_cards
from cqlbench.data.local import candidates, minari_folder, offline, published_key
from cqlbench.data.readers.minari_folder import scored

_SUFFIXES = (".hdf5", ".h5", ".npz")

DISCRETE = "discrete"
"""The preset in `benchmarks/preset` for discrete actions."""


@dataclass(frozen=True)
class Resolution:
    """The one dataset that a name stands for here and now.

    Attributes:
        dataset_id: the full id; for a path, the absolute path.
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
    cards = _cards(name, source)
    if name in cards:
        if source not in ("auto", cards[name].source):
            raise DatasetError(f"'{name}' is not of the source '{source}'; leave the source out.")
        return _located(cards[name], f"'{name}' is a full dataset id")
    if name.endswith(_SUFFIXES) or name.startswith((".", "/", "~")):
        return _path(expanded(name), source)
    matches = _matching(name, cards, source)
    if not matches and kind(Path(name)) is not None:
        return _path(Path(name), source)
    if not matches:
        raise DatasetError(_unknown(name, cards, source))
    newest: dict[str, Card] = {card.source: card for card in sorted(matches, key=lambda card: card.version)}
    if source != "auto":
        return _located(newest[source], f"'{name}' from the source '{source}'")
    return _automatic(name, newest)


def find_card(name: str, source: str = "auto") -> Card:
    """The card of a full id or a short name: D4RL's newest, else Minari's, else an embedded one.

    Raises:
        DatasetError: nothing is called that; the message has the nearest names.
    """
    cards = _cards(name, source)
    if name in cards:
        return cards[name]
    matches = _matching(name, cards, source)
    if not matches:
        raise DatasetError(" ".join([_unknown(name, cards, source), *damaged_cards()]))
    return min(matches, key=lambda card: (SOURCES.index(card.source), -card.version))


def as_stored(resolution: Resolution) -> Resolution:
    """`resolution` with what the data on this machine say that its card leaves open.

    Discrete actions get their preset, unless the card names one. A Minari folder also says the bounds of its
    actions, and perhaps its reference scores.

    Raises:
        DatasetError: its metadata cannot be read.
    """
    from cqlbench.data.readers import d4rl, minari_metadata  # load h5py and gymnasium

    card, path = resolution.card, resolution.path
    if path is None and card.source == "minari":
        path = minari_folder(card)
    if path is None or card.source == "imported":
        return resolution
    if kind(path) == "folder":
        discrete = minari_metadata.discrete_actions(path)
        low, high = minari_metadata.action_bounds(path) or (card.action_low, card.action_high)
        card = scored(replace(card, action_low=low, action_high=high), path)
    else:
        discrete = not card.preset and d4rl.has_discrete_actions(path)
    if discrete and not card.preset:
        card = replace(card, preset=DISCRETE)
    return dataclasses.replace(resolution, card=card, path=path)


def _automatic(name: str, newest: Mapping[str, Card]) -> Resolution:
    """The first source that has the dataset here and now, of those with a card of that name."""
    published, minari = newest.get("d4rl"), newest.get("minari")
    why = "there is no D4RL dataset of that name"
    if published:
        if built(published.id, published_key(published)) or candidates(published):
            return _located(published, f"'{name}' is D4RL's file, cached on this machine")
        from cqlbench.data.fetch import reachable  # loads requests and h5py

        if reachable(published):
            return _located(published, f"'{name}' is D4RL's file, to be downloaded")
        host = "CQLBENCH_OFFLINE is set" if offline() else "its host cannot be reached"
        why = f"{published.id} is not cached and {host}"
    if "embedded" in newest:
        return _located(newest["embedded"], f"'{name}' is {newest['embedded'].id}, because {why}")
    if minari and minari_folder(minari):
        return _located(minari, f"'{name}' is the local Minari dataset, because {why}")
    if minari and not published:
        return _located(minari, f"'{name}' is a Minari dataset")
    if "imported" in newest:
        return _located(newest["imported"], f"'{name}' is the dataset that you imported")
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
    folder = minari_folder(card)
    if folder:
        return as_stored(Resolution(card.id, card, reason, folder))
    if offline():
        raise DatasetError(
            f"'{card.id}' is not on this machine and CQLBENCH_OFFLINE is set; unset it to download the "
            f"dataset, or copy the folder from a machine where `minari download {card.name}` has run."
        )
    return Resolution(card.id, card, f"{reason}, to be downloaded")


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
    card = Card(id=str(path), source="path", notes=("Given by its path: no environment, so not evaluated.",))
    what = "a Minari folder" if found == "folder" else "a file with D4RL's keys"
    reason = f"'{path.name}' is {what}; without a card it is not evaluated"
    return as_stored(Resolution(card.id, card, reason, path))


def _cards(name: str, source: str) -> dict[str, Card]:
    """All cards, if `name` can be a dataset's name and `source` a source.

    Raises:
        DatasetError: they cannot.
    """
    if source not in ("auto", *SOURCES):
        raise DatasetError(f"There is no source '{source}'; it is auto, {', '.join(SOURCES)}.")
    if not name.strip():
        raise DatasetError("No dataset was named; say for instance dataset=hopper-medium.")
    # Control characters (NUL among them) and bytes that are no text: no message and no record can hold them.
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise DatasetError(f"The dataset name {name!a} holds characters that no name has; type it again.")
    return all_cards()


def _matching(name: str, cards: Mapping[str, Card], source: str) -> list[Card]:
    """The cards of `source` that a short name, with or without version, stands for."""
    found = []
    for card in cards.values():
        # Versions count within a source: on `auto`, a version is of D4RL or stands in a whole name.
        versioned = source != "auto" or card.source in ("d4rl", "imported")
        names = {card.short_name}
        if versioned or card.source == "minari":
            names.add(card.name)
        if versioned:
            names.add(f"{card.short_name}-v{card.version}")
        if name in names and source in ("auto", card.source):
            found.append(card)
    return found


def _unknown(name: str, cards: Mapping[str, Card], source: str) -> str:
    """That there is no such dataset, and the nearest names, in one sentence."""
    of_source = [card for card in cards.values() if source in ("auto", card.source)]
    names = {name for card in of_source for name in (card.short_name, card.id)}
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
