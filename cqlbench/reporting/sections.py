"""Which runs meet in a table: records as sections, a table each; its columns; and what must agree in it."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from cqlbench.records.schema import Budget, Record
from cqlbench.records.settings import differing_settings, natural
from cqlbench.reporting.aggregate import PoolingError, Summary, difference

CHOOSE = "choose with dataset=, algorithm=, budget=, config=, since= or until=."
"""How a sentence on what must not meet ends."""

_Split = Callable[[Sequence[Record]], Mapping[str, list[Record]]]


@dataclass(frozen=True)
class Section:
    """Records that may meet in one table: of one source, one budget, one `scores_version`, one version each.

    Attributes:
        records: in order of key.
        budget: the budget's name, and its numbers where runs of one dataset differ in them.
        name: in what it differs from the other sections, fit for a file's name; empty if it is the only one.
        note: the same but for the budget, in words.
    """

    records: tuple[Record, ...]
    budget: str
    name: str
    note: str


def sections(records: Sequence[Record]) -> list[Section]:
    """The sections, in order of source, budget's steps and version."""
    found: list[tuple[tuple[str, ...], list[Record]]] = [((), sorted(records, key=lambda each: each.key))]
    for split in (_by_source, _by_budget, _by_scores, _by_version):
        found = [((*parts, part), rest) for parts, each in found for part, rest in split(each).items()]
    several = [len({parts[place] for parts, _ in found}) > 1 for place in range(4)]
    names = [
        "-".join(part for part, differs in zip(parts, several, strict=True) if differs and part)
        for parts, _ in found
    ]
    return [
        Section(
            records=tuple(each),
            budget=parts[1],
            name=re.sub(r"[^\w.,=+-]+", "-", name).strip("-"),
            note=", ".join(parts[place] for place in (0, 2, 3) if several[place] and parts[place]),
        )
        for (parts, each), name in zip(found, names, strict=True)
    ]


def columns(records: Sequence[Record]) -> dict[tuple[str, str], str]:
    """Algorithm and config hash -> the column's name, in the columns' order.

    An algorithm of which a dataset has several configurations has columns by the settings that differ.
    """
    named: dict[tuple[str, str], str] = {}
    for algorithm in sorted({record.algorithm for record in records}):
        runs = {
            (record.dataset.id, record.config_hash): record.config
            for record in records
            if record.algorithm == algorithm
        }
        placed = [(dataset, config) for (dataset, _), config in runs.items()]
        texts = differing_settings(placed, left_out=("scores_version", *_BUDGET))
        pairs = sorted(zip(texts, runs, strict=True), key=lambda pair: natural(pair[0]))
        named |= {
            (algorithm, config_hash): f"{algorithm} ({text})" if text else algorithm
            for text, (_, config_hash) in pairs
        }
    return named


def unversioned(dataset: str) -> tuple[str, str]:
    """A dataset's id without its version, and the version."""
    found = re.fullmatch(r"(.+)-(v\d+)", dataset)
    return (found[1], found[2]) if found else (dataset, "")


_BUDGET = tuple(f"budget.{name}" for name in Budget.__struct_fields__)


def _grouped(records: Sequence[Record], names: Sequence[str]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for name, record in zip(names, records, strict=True):
        found.setdefault(name, []).append(record)
    return found


def _by_source(records: Sequence[Record]) -> dict[str, list[Record]]:
    return _grouped(records, [record.dataset.id.partition("/")[0] for record in records])


def _by_budget(records: Sequence[Record]) -> dict[str, list[Record]]:
    numbers = [
        ((record.budget.name, record.dataset.id), {**msgspec.to_builtins(record.budget), "name": ""})
        for record in records
    ]
    texts = differing_settings(numbers)
    names = [
        f"{record.budget.name} ({text})" if text else record.budget.name
        for record, text in zip(records, texts, strict=True)
    ]
    found = _grouped(records, names)
    fewest = {name: min(record.budget.steps for record in each) for name, each in found.items()}
    return {name: found[name] for name in sorted(found, key=lambda name: (fewest[name], natural(name)))}


def _by_scores(records: Sequence[Record]) -> dict[str, list[Record]]:
    found = _grouped(records, [f"scores-v{record.config.get('scores_version', 0)}" for record in records])
    return dict(sorted(found.items(), key=lambda pair: natural(pair[0])))


def _by_version(records: Sequence[Record]) -> dict[str, list[Record]]:
    """By version, if there is a dataset of several."""
    known = {unversioned(record.dataset.id) for record in records}
    if len({name for name, _ in known}) == len(known):
        return {"": list(records)}
    return _grouped(records, [unversioned(record.dataset.id)[1] for record in records])


def check_table(summaries: Sequence[Summary]) -> None:
    """Refuse runs that must not meet in one table.

    Raises:
        PoolingError: one sentence that says what differs, between which runs.
    """
    for kind, group_of, value_of in _RULES:
        first_of: dict[Any, tuple[Record, Any]] = {}
        for summary in summaries:
            lead = summary.lead
            value = value_of(lead)
            if value is None:  # a run that was skipped early knows neither its data nor its protocol
                continue
            first, expected = first_of.setdefault(group_of(lead), (lead, value))
            if value != expected:
                raise PoolingError(
                    f"{_name(first)} and {_name(lead)} cannot share a table: "
                    f"{difference(kind, expected, value)}; {CHOOSE}"
                )


def _protocol(record: Record, part: str = "") -> Any:
    if record.protocol is None:
        return None
    return getattr(record.protocol, part) if part else msgspec.to_builtins(record.protocol)


def _place(record: Record) -> str | None:
    return record.protocol.environment.id if record.protocol else None


def _simulator(record: Record) -> Any:
    # Not the arguments: mazes of one environment differ in them.
    place = _protocol(record, "environment")
    return place and {part: getattr(place, part) for part in ("backend", "backend_version", "mujoco_version")}


def _table(_record: Record) -> None:
    return None


def _dataset(record: Record) -> str:
    return record.dataset.id


_RULES: tuple[tuple[str, Callable[[Record], Any], Callable[[Record], Any]], ...] = (
    ("dataset content hash", _dataset, lambda record: record.dataset.content_hash),
    ("protocol", _dataset, _protocol),
    ("protocol (deterministic)", _table, lambda record: _protocol(record, "deterministic")),
    ("environment", _place, _simulator),
)
"""What must agree, among which records, and where it is read. Coarse ones first: their sentence says most."""


def _name(record: Record) -> str:
    return f"{record.algorithm} on {record.dataset.id} ({record.budget.name}-{record.config_hash})"
