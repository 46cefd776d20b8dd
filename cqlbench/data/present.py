"""What this machine has of a dataset, told without torch or a simulator."""

from typing import Literal

from cqlbench.core.errors import DatasetError
from cqlbench.data.buffer_files import is_built, is_built_from_any_source
from cqlbench.data.cards import Card
from cqlbench.data.fetch import candidates, minari_folder
from cqlbench.data.resolve import Resolution, file_key


def where(card: Card) -> Literal["ready", "file", ""]:
    """Its buffer (`ready`), its files (`file`), or nothing.

    An embedded dataset's buffer counts whichever simulator's version it was made with: to tell those apart,
    the simulator would have to be loaded.
    """
    if card.source == "embedded":
        return "ready" if is_built_from_any_source(card.id) else ""
    folder = minari_folder(card) if card.source == "minari" else None
    found = folder is not None or (card.source == "d4rl" and bool(candidates(card)))
    try:
        ready = (found or card.source != "minari") and is_built(
            card.id, file_key(Resolution(card.id, card, "", folder))
        )
    except DatasetError:
        ready = False
    return "ready" if ready else "file" if found else ""
