"""A line per record, kept in one file so that thousands are known without opening each.

`<folder>/runs/.index.json` may be deleted at any time: it is made again from the records. A record that is
new or changed since (told by its size and time) is read and checked; one that is gone is forgotten.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from cqlbench.core import atomic
from cqlbench.records.pooling import Origin, origin_of
from cqlbench.records.schema import RecordError, RecordKey
from cqlbench.records.seed_result import SeedResult, seed_result
from cqlbench.records.store import RecordStore, numbers_of

_LAYOUT = 3
"""Raise it whenever a line's fields or their meaning change: older files are then made again."""


class Line(msgspec.Struct, frozen=True):
    """What is known of a record without opening it.

    Attributes:
        path: its file, below `<folder>/runs`.
        size: of the file, in bytes.
        changed: the file's time, in nanoseconds.
        rerun: 1 for the first record of its key, and so on.
        created_at: UTC, ISO 8601.
        comparable: whether its score may stand beside published ones.
        result: the seed's numbers.
    """

    path: str
    size: int
    changed: int
    key: RecordKey
    rerun: int
    created_at: str
    comparable: bool
    origin: Origin
    result: SeedResult
    config: Mapping[str, Any] = {}

    @property
    def run(self) -> str:
        """The run as `bench` prints it."""
        return self.path.rpartition("/")[0]


class _Index(msgspec.Struct):
    layout: int
    configs: dict[str, Mapping[str, Any]]
    lines: list[Line]


def lines_of(store: RecordStore) -> list[Line]:
    """A line per record, history included, in order of key and then age; unusable records have none.

    Raises:
        RecordError: the folder cannot be listed.
    """
    file = store.runs / ".index.json"
    known = _read(file)
    lines = {}
    for path, rerun, size, changed in _files(store.runs):
        line = known.get(path)
        if line is not None and (line.size, line.changed) == (size, changed):
            lines[path] = line
        elif record := store.usable(store.runs / path):
            lines[path] = Line(
                path=path,
                size=size,
                changed=changed,
                key=record.key,
                rerun=rerun,
                created_at=record.created_at,
                comparable=not record.incomparable_because,
                origin=origin_of(record),
                result=seed_result(record),
                config=record.config,
            )
    if lines != known:
        with suppress(OSError):  # a results folder that may only be read is slower to list, and no mistake
            atomic.replace(file, _content(lines.values()))
    return sorted(lines.values(), key=lambda line: (line.key, line.rerun))


def counting(lines: Sequence[Line]) -> list[Line]:
    """One line per key, as the store counts them: the newest finished record's, or the newest's."""
    ordered = sorted(lines, key=lambda line: (line.key, line.result.status == "finished", line.rerun))
    return list({line.key: line for line in ordered}.values())


def _files(runs: Path) -> Iterator[tuple[str, int, int, int]]:
    """Path below `runs`, number of the run, size and time of every record."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise RecordError(f"The records in '{error.filename}' cannot be listed ({error.strerror}).")

    for folder, _, names in os.walk(runs, onerror=refuse):
        for name in names:
            if name.endswith(".json") and (numbers := numbers_of(name)):
                path = Path(folder) / name
                facts = path.stat()
                yield path.relative_to(runs).as_posix(), numbers[1], facts.st_size, facts.st_mtime_ns


def _content(lines: Iterable[Line]) -> bytes:
    configs = {line.key.config_hash: line.config for line in lines}  # of many records
    bare = [msgspec.structs.replace(line, config={}) for line in lines]
    return msgspec.json.encode(_Index(_LAYOUT, configs, bare))


def _read(file: Path) -> dict[str, Line]:
    """The lines of an index by path; none of one that is not there, damaged, or of another layout."""
    try:
        index = msgspec.json.decode(file.read_bytes(), type=_Index)
        lines = {} if index.layout != _LAYOUT else {line.path: line for line in index.lines}
        replace = msgspec.structs.replace
        return {
            path: replace(line, config=index.configs[line.key.config_hash]) for path, line in lines.items()
        }
    except (OSError, ValueError, KeyError):
        return {}
