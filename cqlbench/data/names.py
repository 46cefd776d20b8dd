"""What a user typed -> cards of that name, wherever their data are."""

import difflib
import unicodedata
from collections.abc import Mapping

from cqlbench.core.errors import DatasetError
from cqlbench.data.cards import SOURCES, Card, all_cards, damaged_cards


def find_card(name: str, source: str = "auto") -> Card:
    """The card of a full id or a short name: D4RL's newest, else Minari's, else an embedded one.

    Raises:
        DatasetError: nothing is called that; the message has the nearest names.
    """
    check_source(source)
    check_name(name)
    cards = all_cards()
    if name in cards:
        return cards[name]
    matches = matching(name, cards, source)
    if not matches:
        raise DatasetError(" ".join([unknown(name, cards, source), *damaged_cards()]))
    return min(matches, key=lambda card: (SOURCES.index(card.source), -card.version))


def check_source(source: str) -> None:
    """Refuse a source that is none.

    Raises:
        DatasetError: the message says which there are.
    """
    if source not in ("auto", *SOURCES):
        raise DatasetError(f"There is no source '{source}'; it is auto, {', '.join(SOURCES)}.")


def check_name(name: str) -> None:
    """Refuse what no dataset can be called.

    Raises:
        DatasetError: it is empty, or holds characters that no message and no record can hold.
    """
    if not name.strip():
        raise DatasetError("No dataset was named; say for instance dataset=hopper-medium.")
    # Control characters (NUL among them) and bytes that are no text: no message and no record can hold them.
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise DatasetError(f"The dataset name {name!a} holds characters that no name has; type it again.")


def matching(name: str, cards: Mapping[str, Card], source: str) -> list[Card]:
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


def unknown(name: str, cards: Mapping[str, Card], source: str) -> str:
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
