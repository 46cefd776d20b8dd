"""Which recorded runs a command is about: `key=value` words."""

import fnmatch
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cqlbench.core.errors import ConfigError
from cqlbench.records.index import Line, counting, lines_of
from cqlbench.records.schema import Record, RecordError
from cqlbench.records.store import RecordStore

FILTERS = ("dataset", "algorithm", "budget", "config", "since", "until")


def choose(lines: Sequence[Line], values: Mapping[str, str]) -> list[Line]:
    """The lines that pass the filters.

    `dataset=` is a full id, a short name, or a pattern of an id (`embedded/*`); `config=` the beginning of a
    config hash. These, `algorithm=` and `budget=` may name several, with commas. `since=` and `until=` are
    days or times (UTC unless said), a day with all its hours.

    Raises:
        ConfigError: a date that is none.
    """
    values = {"since": "0001-01-01T00:00", "until": "9999-12-31T00:00", **values}
    since, until = _moment(values["since"], "since"), _moment(values["until"], "until")
    if len(values["until"]) <= len("2026-01-01"):
        until += timedelta(days=1)
    return [
        line
        for line in lines
        if any(_is_dataset(line.key.dataset, each) for each in values.get("dataset", "*").split(","))
        and line.key.algorithm in values.get("algorithm", line.key.algorithm).split(",")
        and line.key.budget in values.get("budget", line.key.budget).split(",")
        and line.key.config_hash.startswith(tuple(values.get("config", "").split(",")))
        and since <= datetime.fromisoformat(line.created_at) <= until
    ]


def counting_lines(results: Path, values: Mapping[str, str]) -> list[Line]:
    """The lines of the records that count and pass the filters, in order of key.

    Raises:
        UserError: there are none, or a filter makes no sense.
    """
    everything = lines_of(RecordStore(results))
    if not everything:
        raise RecordError(f"There are no records in '{results}'; make some with cqlbench bench.")
    chosen = counting(choose(everything, values))
    if not chosen:
        said = " ".join(f"{key}={values[key]}" for key in FILTERS if key in values)
        raise RecordError(
            f"No record in '{results}' has {said}; 'cqlbench results list results={results}' names them all."
        )
    return chosen


def read(results: Path, lines: Sequence[Line]) -> list[Record]:
    """The whole records of these lines, but for those that cannot be used any more."""
    store = RecordStore(results)
    return [record for line in lines if (record := store.usable(store.runs / line.path))]


def _is_dataset(dataset: str, wanted: str) -> bool:
    short = dataset.partition("/")[2].rpartition("-v")[0]
    return wanted == short or fnmatch.fnmatchcase(dataset, wanted)


def _moment(text: str, key: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{key}={text} is no date; say {key}=2026-01-31 or 2026-01-31T12:00.") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
