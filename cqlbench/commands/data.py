"""`cqlbench data ...`: which datasets there are, getting them, and looking at them."""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console

from cqlbench.commands.arguments import choices, truth
from cqlbench.core.errors import ConfigError, DatasetError, UserError
from cqlbench.data.cards import SOURCES, Card, all_cards, damaged_cards
from cqlbench.data.local import Known, known, why_unplayed, without_a_card
from cqlbench.data.resolve import check_source, find_card
from cqlbench.evaluation.scores import normalized_score

_HEAD = (
    "dataset", "rows", "episodes", "size", "score 0", "score 100", "behaviour", "played", "comparable",
    "cached",
)  # fmt: skip


def data(words: Sequence[str], console: Console) -> None:
    """Run `cqlbench data VERB WORDS...`.

    Raises:
        ConfigError: there is no such verb.
        UserError: as the verb says.
    """
    if words[0] not in VERBS:
        raise ConfigError(f"There is no command 'data {words[0]}'; {choices(words[0], VERBS)}")
    VERBS[words[0]](words[1:], console)


def list_datasets(words: Sequence[str], console: Console) -> None:
    """Print one line per dataset that the filters let through.

    Raises:
        ConfigError: a filter that is none, or names what no dataset has.
    """
    given = filters(words, ("source", "family", "cached"))
    cards = list(all_cards().values())
    for key, present in (("source", SOURCES), ("family", {card.family for card in cards if card.family})):
        if key in given and given[key] not in present:
            raise ConfigError(f"No dataset has {key}={given[key]}; {choices(given[key], present)}")
    truth(given, "cached")
    rows = []
    because: Counter[str] = Counter()
    for card in cards:
        if given.get("source") in (None, card.source) and given.get("family") in (None, card.family):
            facts = known(card)
            if given.get("cached") in (None, "true" if facts.cached else "false"):
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
    if given.get("source") in (None, "minari") and "family" not in given and given.get("cached") != "false":
        for path in without_a_card():
            console.out(f"A local Minari dataset without a card, used by its path: {path}")
    for fault in damaged_cards():
        console.out(fault)


def fetch_datasets(words: Sequence[str], console: Console) -> None:
    """Download the datasets that `words` name, by id or short name; a failure does not stop the rest.

    Raises:
        ConfigError: nothing is named.
        DatasetError: a name is unknown (then nothing is downloaded), or a dataset cannot be had.
    """
    names = [word for word in words if not word.startswith("source=")]
    source = filters([word for word in words if word.startswith("source=")], ("source",)).get(
        "source", "auto"
    )
    check_source(source)
    if not names:
        raise ConfigError("No dataset was named; say for instance `cqlbench data fetch hopper-medium`.")
    failed = []
    for card in [find_card(name, source) for name in names]:
        try:
            console.out(f"{card.id}: {_fetched(card)}")
        except UserError as error:
            failed.append(error)
            if len(names) > 1:
                sys.stderr.write(f"cqlbench: {error}\n")
    if failed:
        raise (
            failed[0]
            if len(names) == 1
            else DatasetError(f"{len(failed)} of {len(names)} could not be fetched.")
        )


def filters(words: Sequence[str], keys: Sequence[str]) -> dict[str, str]:
    """`key=value` words as a dictionary.

    Raises:
        ConfigError: a word of another form, or a key that is not among `keys`.
    """
    pairs = [word.partition("=") for word in words]
    for key, equals, _ in pairs:
        if not equals:
            raise ConfigError(f"'{key}' is not of the form key=value; the keys are {', '.join(keys)}.")
        if key not in keys:
            raise ConfigError(f"There is no key '{key}' here; {choices(key, keys)}")
    return {key: value for key, _, value in pairs}


def _check(words: Sequence[str], console: Console) -> None:
    from cqlbench.commands.data_check import check  # loads torch

    check(words, console)


def _show(words: Sequence[str], console: Console) -> None:
    from cqlbench.commands.data_check import show

    show(words, console)


def _import(words: Sequence[str], console: Console) -> None:
    from cqlbench.commands.data_check import import_

    import_(words, console)


def _collect(words: Sequence[str], console: Console) -> None:
    from cqlbench.commands.data_collect import collect  # loads simulators

    collect(words, console)


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


VERBS: Mapping[str, Callable[[Sequence[str], Console], None]] = {
    "list": list_datasets,
    "fetch": fetch_datasets,
    "collect": _collect,
    "check": _check,
    "show": _show,
    "import": _import,
}
