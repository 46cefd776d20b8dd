"""What this machine has of a dataset, told without torch or a simulator."""

import warnings
from pathlib import Path
from typing import Literal

from cqlbench.core.errors import DatasetError
from cqlbench.core.paths import kind
from cqlbench.data.buffer_files import is_built, is_built_from_any_source
from cqlbench.data.cards import Card, all_cards
from cqlbench.data.fetch import candidates, minari_folder, minari_home
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


def without_a_card() -> list[Path]:
    """The datasets in Minari's own folder that no card describes: they are named by their path."""
    home = minari_home()
    if kind(home) != "folder":
        return []
    from minari import list_local_datasets  # a tenth of every command's start otherwise

    known = {card.name for card in all_cards().values() if card.source == "minari"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of folders that hold no dataset
        return [home / name for name in list_local_datasets() if name not in known]
