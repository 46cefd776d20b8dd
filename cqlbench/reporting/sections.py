"""Which runs meet in a table: records as sections, a table each; its columns; and what must agree in it."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from cqlbench.records.schema import Budget, Record
from cqlbench.records.settings import differing_settings, differing_values, natural
from cqlbench.reporting.aggregate import PoolingError, Summary, difference

CHOOSE = "choose with dataset=, algorithm=, budget=, config=, since= or until=."
"""How a sentence on what must not meet ends."""


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
    for names_of in (_sources, _budgets, _scores_versions, _dataset_versions):
        found = [
            ((*parts, name), group)
            for parts, each in found
            for name, group in _grouped(each, names_of(each), by_steps=names_of is _budgets)
        ]
    several = [len(set(names)) > 1 for names in zip(*(parts for parts, _ in found), strict=True)]

    def joined(parts: Sequence[str], places: Sequence[int], between: str) -> str:
        return between.join(parts[place] for place in places if several[place] and parts[place])

    return [
        Section(
            records=tuple(each),
            budget=parts[1],
            name=re.sub(r"[^\w.,=+-]+", "-", joined(parts, range(4), "-")).strip("-"),
            note=joined(parts, (0, 2, 3), ", "),
        )
        for parts, each in found
    ]


def _grouped(
    records: Sequence[Record], names: Sequence[str], by_steps: bool
) -> list[tuple[str, list[Record]]]:
    found: dict[str, list[Record]] = {}
    for name, record in zip(names, records, strict=True):
        found.setdefault(name, []).append(record)
    fewest = {name: min(each.budget.steps for each in group) * by_steps for name, group in found.items()}
    return sorted(found.items(), key=lambda group: (fewest[group[0]], natural(group[0])))


def _sources(records: Sequence[Record]) -> list[str]:
    return [record.dataset.id.partition("/")[0] for record in records]


def _budgets(records: Sequence[Record]) -> list[str]:
    """A budget's name, and its numbers where runs of one dataset differ in them."""
    numbers = [
        ((record.budget.name, record.dataset.id), {**msgspec.to_builtins(record.budget), "name": ""})
        for record in records
    ]
    texts = zip(records, differing_settings(numbers), strict=True)
    return [f"{record.budget.name} ({text})" if text else record.budget.name for record, text in texts]


def _scores_versions(records: Sequence[Record]) -> list[str]:
    return [f"scores-v{record.config.get('scores_version', 0)}" for record in records]


def _dataset_versions(records: Sequence[Record]) -> list[str]:
    """The version, if there is a dataset of several."""
    parts = [(*re.split(r"-(?=v\d+$)", record.dataset.id), "")[:2] for record in records]
    several = len({name for name, _ in parts}) < len(set(parts))
    return [version if several else "" for _, version in parts]


class Column(NamedTuple):
    """A column of a report.

    Attributes:
        name: the algorithm, with its settings where it has several columns.
        settings: those that differ between the algorithm's columns.
    """

    name: str
    settings: Mapping[str, str]


def columns(records: Sequence[Record]) -> dict[tuple[str, str], Column]:
    """Algorithm and config hash -> the column, in the columns' order.

    An algorithm of which a dataset has several configurations has columns by the settings that differ.
    """
    named: dict[tuple[str, str], Column] = {}
    for algorithm in sorted({record.algorithm for record in records}):
        runs = {
            (record.dataset.id, record.config_hash): record.config
            for record in records
            if record.algorithm == algorithm
        }
        placed = [(dataset, config) for (dataset, _), config in runs.items()]
        values = differing_values(placed, left_out=("scores_version", *_BUDGET))
        texts = [", ".join(f"{name}={value}" for name, value in each.items()) for each in values]
        ordered = sorted(zip(texts, values, runs, strict=True), key=lambda each: natural(each[0]))
        named |= {
            (algorithm, config_hash): Column(f"{algorithm} ({text})" if text else algorithm, each)
            for text, each, (_, config_hash) in ordered
        }
    return named


_BUDGET = tuple(f"budget.{name}" for name in Budget.__struct_fields__)


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


def _protocol(record: Record) -> Any:
    return record.protocol and msgspec.to_builtins(record.protocol)


def _simulator(record: Record) -> Any:
    # Not the arguments: mazes of one environment differ in them.
    place = record.protocol and record.protocol.environment
    return place and {part: getattr(place, part) for part in ("backend", "backend_version", "mujoco_version")}


_RULES: tuple[tuple[str, Callable[[Record], Any], Callable[[Record], Any]], ...] = (
    ("dataset content hash", lambda each: each.dataset.id, lambda each: each.dataset.content_hash),
    ("protocol", lambda each: each.dataset.id, _protocol),
    (
        "protocol (deterministic)",
        lambda _: None,
        lambda each: each.protocol and each.protocol.deterministic,
    ),
    ("environment", lambda each: each.protocol and each.protocol.environment.id, _simulator),
)
"""What must agree, among which records, and where it is read. Coarse ones first: their sentence says most."""


def _name(record: Record) -> str:
    return f"{record.algorithm} on {record.dataset.id} ({record.budget.name}-{record.config_hash})"
