"""`Record` to strict JSON and back; reading refuses whatever is not exactly of this schema."""

import dataclasses
import json
import typing
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cqlbench.records.schema import SCHEMA_VERSION, Record, RecordError

T = TypeVar("T")


def to_json(record: Record) -> str:
    """Strict JSON: one line per top-level field, evaluation and diagnostics row.

    Raises:
        ValueError: a number is not finite where `None` is not allowed.
    """
    # The version first, so that a reader of the raw file meets it first.
    content = {"schema_version": record.schema_version} | dataclasses.asdict(record)
    for name in _left_out(Record):
        if not content[name]:
            del content[name]
    lines = []
    for name, value in content.items():
        if name in ("evaluations", "diagnostics") and value:
            rows = ",\n".join(f"  {_dumps(row)}" for row in value)
            text = f"[\n{rows}\n ]"
        else:
            text = _dumps(value)
        lines.append(f" {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def from_json(text: str, source: Path | str) -> Record:
    """Read what `to_json` wrote.

    Args:
        text: the JSON.
        source: where it came from, for messages.

    Raises:
        RecordError: not strict JSON, of a newer schema, or not exactly the fields and types of this one.
    """
    try:
        content = msgspec.json.decode(text)
        _check_version(content)
        return decode(content, Record)
    except ValueError as error:
        raise RecordError(f"Record '{source}' cannot be used: {error}.") from error


def _check_version(content: Any) -> None:
    version = content.get("schema_version") if isinstance(content, dict) else None
    if type(version) is not int or version < 1:
        raise ValueError("it is not a JSON object with a schema_version of 1 or more")
    if version > SCHEMA_VERSION:
        raise ValueError(
            f"it has schema version {version} and this cqlbench reads up to {SCHEMA_VERSION}; update cqlbench"
        )


def decode(value: Any, expected: type[T]) -> T:
    """Plain JSON as the dataclass `expected`.

    Raises:
        ValueError: it does not fit exactly; the message names the place.
    """
    _refuse_unknown(value, expected, "")
    return msgspec.convert(value, expected)


def _refuse_unknown(value: Any, of: type, where: str) -> None:
    """Refuse fields that a dataclass, or one inside it, does not have: msgspec passes them over."""
    if not isinstance(value, dict):
        return  # which msgspec refuses
    fields = _fields(of)
    if unknown := sorted(value.keys() - fields.keys()):
        raise ValueError(f"{f'{where[:-1]}' if where else 'it'} has unknown fields: {', '.join(unknown)}")
    for name, inner in fields.items():
        if inner is not None and (found := value.get(name)):
            for each in found if isinstance(found, list) else [found]:
                _refuse_unknown(each, inner, f"{where}{name}.")


@cache
def _fields(of: type) -> dict[str, type | None]:
    """Field -> the dataclass that it holds, alone, in a list or beside `None`."""
    kinds = {name: (hint, *typing.get_args(hint)) for name, hint in typing.get_type_hints(of).items()}
    return {name: next(filter(_is_class, each), None) for name, each in kinds.items()}


def _is_class(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


@cache
def _left_out(of: type) -> set[str]:
    """Fields that are not written where they are empty: younger than records that must stay readable."""
    return {field.name for field in dataclasses.fields(of) if field.metadata.get("left_out")}


def _dumps(value: Any) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False)
