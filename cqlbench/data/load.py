"""A resolved name -> a dataset ready for training: fetched, read or made, checked, and put in its buffer."""

from dataclasses import replace

from cqlbench.core.errors import DatasetError
from cqlbench.core.paths import kind
from cqlbench.data import validate
from cqlbench.data.buffer import Dataset, buffer_for, content_hash
from cqlbench.data.cards import Card
from cqlbench.data.embedded.collect import collect, source_key
from cqlbench.data.fetch import fetch, fetch_folder
from cqlbench.data.findings import Expected
from cqlbench.data.local import file_key, known_sha256
from cqlbench.data.readers.d4rl import read_d4rl
from cqlbench.data.readers.minari import read_minari
from cqlbench.data.resolve import Resolution, as_stored
from cqlbench.data.transitions import Transitions


def provide(resolution: Resolution, clip_actions: bool = False) -> Dataset:
    """The dataset behind `resolution`. Its source is read only if no buffer has been made from it yet.

    With `clip_actions` the user consents to clipping actions to their bounds.

    Raises:
        DatasetError: it cannot be fetched, read, trusted or stored.
    """
    if resolution.card.source == "minari" and resolution.path is None:
        resolution = as_stored(replace(resolution, path=fetch_folder(resolution.card)))
    elif resolution.card.source == "d4rl" and known_sha256(resolution.card) is None:
        fetch(resolution.card)  # the first copy's checksum is the buffer's key

    def load() -> Transitions:
        transitions = read(resolution, clip_actions)
        try:
            warnings = validate.check(transitions, expected(resolution.card))
        except DatasetError as error:
            raise DatasetError(f"{resolution.dataset_id} is refused: {error}") from error
        return replace(transitions, notes=(*transitions.notes, *warnings))

    card = resolution.card
    key = source_key(card) if card.source == "embedded" else file_key(card, resolution.path)
    key += "+clipped" if clip_actions else ""
    dataset = buffer_for(resolution.dataset_id, key, load)
    other = other_content(resolution.card, dataset.content_hash)
    if not other:
        return dataset
    note = (
        f"Its rows are not those that its card expects (content {other[:12]}, not "
        f"{resolution.card.content_hash[:12]}): other versions of the simulator or of numpy, or another kind "
        "of processor, give other rows. Scores on them are kept apart."
    )
    return replace(dataset, notes=(*dataset.notes, note))


def other_content(card: Card, content: str) -> str:
    """A dataset's content hash where it is not the one that the card expects; empty where it is."""
    return "" if content == (card.content_hash or content) else content


def read(resolution: Resolution, clip_actions: bool = False) -> Transitions:
    """The dataset's rows, read or made anew, before any check.

    Raises:
        DatasetError: it cannot be fetched or read; or an imported file is not what was imported.
    """
    card = resolution.card
    transitions = _from_source(resolution)
    if "action_clip" in card.quirks:
        transitions = _clipped(transitions, card)
    if card.source == "imported" and card.sha256 and content_hash(transitions) != card.sha256:
        raise DatasetError(
            f"{card.imported_from} is not what was imported as '{card.id}' any more; import it again under "
            "another version."
        )
    return _clipped(transitions, card) if clip_actions else transitions


def expected(card: Card) -> Expected:
    """What the card lets the validation expect."""
    own = card.source in ("path", "imported")  # what is stated may be wrong; a published dataset's is known
    return Expected(
        card.action_low,
        card.action_high,
        card.recorded_limit,
        card.rows,
        card.episodes,
        card.mean_return,
        clippable=Expected.clippable if own else 1.0,
        trusted_ends=not own or "ends_are_right" in card.quirks,
        trusted_rows="rows_are_right" in card.quirks,
    )


def _clipped(transitions: Transitions, card: Card) -> Transitions:
    clipped = validate.clip_actions(transitions, expected(card))
    note = f"The actions of {clipped} rows were clipped to their bounds."
    return replace(transitions, notes=(*transitions.notes, note)) if clipped else transitions


def _from_source(resolution: Resolution) -> Transitions:
    card = resolution.card
    if card.source == "embedded":
        return collect(card)
    path = resolution.path or (fetch_folder if card.source == "minari" else fetch)(card)
    if kind(path) == "folder":
        return read_minari(path, card.observation_keys)
    return read_d4rl(path, card)
