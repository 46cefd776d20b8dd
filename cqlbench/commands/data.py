"""`cqlbench data list` and `fetch`: which datasets there are, and getting them."""

import sys
from collections import Counter
from collections.abc import Sequence

from rich.console import Console

from cqlbench.core.errors import ConfigError, DatasetError, UserError
from cqlbench.data.cards import Card, all_cards, damaged_cards
from cqlbench.data.local import Known, known, why_unplayed, without_a_card
from cqlbench.data.resolve import find_card
from cqlbench.evaluation.scores import normalized_score

_HEAD = (
    "dataset", "rows", "episodes", "size", "score 0", "score 100", "behaviour", "played", "comparable",
    "cached",
)  # fmt: skip


def list_datasets(console: Console, source: str | None, family: str | None, cached: bool | None) -> None:
    """Print one line per dataset that the filters let through.

    Raises:
        ConfigError: a family that no dataset has.
    """
    cards = list(all_cards().values())
    families = sorted({card.family for card in cards if card.family})
    if family and family not in families:
        raise ConfigError(f"Unknown family '{family}' (choose from {', '.join(families)}).")
    rows = []
    because: Counter[str] = Counter()
    for card in cards:
        if source in (None, card.source) and family in (None, card.family):
            facts = known(card)
            if cached in (None, bool(facts.cached)):
                unplayed, incomparable = why_unplayed(card), card.incomparable
                rows.append(_row(facts, not unplayed, not incomparable))
                because.update(filter(None, [unplayed and f"not played: {unplayed}"]))
                because.update(filter(None, [incomparable and f"not comparable: {incomparable}"]))
    widths = [max(len(row[column]) for row in [_HEAD, *rows]) for column in range(len(_HEAD))]
    for row in [_HEAD, *rows] if rows else []:
        cells = zip(row[1:-1], widths[1:-1], strict=True)
        console.out(row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in cells), row[-1], sep="  ")
    for reason in sorted(because, reverse=True):
        console.out(f"{because[reason]} {reason}.")
    console.out(
        f"{len(rows)} datasets. Scores 0 and 100 are returns, 'behaviour' is the score of the policies that "
        "made the data. Comparable: with published scores, by the published settings. Cached: 'file' is "
        "downloaded, 'ready' is converted as well; embedded ones are made here when needed."
    )
    if source in (None, "minari") and family is None and cached is not False:
        for path in without_a_card():
            console.out(f"A local Minari dataset without a card, used by its path: {path}")
    for fault in damaged_cards():
        console.out(fault)


def fetch_datasets(console: Console, names: Sequence[str], source: str) -> None:
    """Download datasets, by id or short name; a failure does not stop the rest.

    Raises:
        DatasetError: a name is unknown (then nothing is downloaded), or a dataset cannot be had.
    """
    failed = []
    for card in [find_card(name, source) for name in names]:
        try:
            console.out(f"{card.id}: {_fetched(card)}")
        except UserError as error:
            failed.append(error)
            if len(names) > 1:
                sys.stderr.write(f"cqlbench: {error}\n")
    if failed and len(names) == 1:
        raise failed[0]
    if failed:
        raise DatasetError(f"{len(failed)} of {len(names)} could not be fetched.")


def _fetched(card: Card) -> str:
    if card.source == "imported":
        return f"imported from {card.imported_from}; there is nothing to fetch"
    if card.source == "embedded":
        return "made on this machine when it is needed; there is nothing to fetch"
    from cqlbench.data.fetch import fetch, fetch_folder  # loads h5py

    return str(fetch_folder(card) if card.source == "minari" else fetch(card))


def _row(facts: Known, played: bool, comparable: bool) -> tuple[str, ...]:
    card, score = facts.card, None
    ends = card.endpoints_of_data
    if ends is not None and facts.mean_return is not None:
        score = float(normalized_score(facts.mean_return, *ends))
    counts = (f"{count:,}" if count else "-" for count in (facts.rows, facts.episodes))
    size = f"{card.bytes / 1e6:,.1f} MB" if card.bytes else "-"
    numbers = (
        "-" if number is None else f"{number:,.1f}" for number in (card.score_min, card.score_max, score)
    )
    answers = ("yes" if answer else "no" for answer in (played, comparable))
    return (card.id, *counts, size, *numbers, *answers, facts.cached or "-")
