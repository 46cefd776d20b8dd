"""`Record` to strict JSON and back; reading refuses whatever is not exactly of this schema."""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from cqlbench.records.schema import SCHEMA_VERSION, Record, RecordError


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
        content = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
        _check_version(content)
        return typing.cast("Record", _decode(content, Record, ""))
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


def _decode(value: Any, expected: Any, where: str) -> Any:
    """`value` as the annotated type `expected`; ValueError names the place `where` it does not fit."""
    if type(value) in _scalars(expected) or expected is Any:
        return value
    if dataclasses.is_dataclass(expected):
        return _decode_fields(value, typing.cast("type", expected), where)
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin is types.UnionType:
        inner = next(argument for argument in arguments if argument is not types.NoneType)
        return None if value is None else _decode(value, inner, where)
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"'{where}' is {value!r}, not one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple and isinstance(value, list):
        if set(map(type, value)) <= _scalars(arguments[0]):
            return tuple(value)
        return tuple(_decode(item, arguments[0], f"{where}[{index}]") for index, item in enumerate(value))
    if origin is Mapping and isinstance(value, dict):
        if set(map(type, value.values())) <= _scalars(arguments[1]):
            return value
        return {name: _decode(item, arguments[1], f"{where}.{name}") for name, item in value.items()}
    names = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}
    wanted = names.get(expected, {tuple: "a list", Mapping: "an object"}.get(origin, str(expected)))
    raise ValueError(f"'{where}' is {_shorten(value)}, and {wanted} was expected")


def _decode_fields(value: Any, expected: type, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"'{where}' is {_shorten(value)}, and an object was expected")  # noqa: TRY004
    fields = _fields(expected)
    owner = f"'{where}'" if where else "it"
    if missing := sorted(fields.keys() - value.keys() - _left_out(expected)):
        raise ValueError(f"{owner} lacks {', '.join(missing)}")
    if unknown := sorted(value.keys() - fields.keys()):
        raise ValueError(f"{owner} has unknown fields: {', '.join(unknown)}")
    prefix = f"{where}." if where else ""
    decoded = {
        name: item if type(item := value[name]) in plain else _decode(item, hint, prefix + name)
        for name, (hint, plain) in fields.items()
        if name in value
    }
    return expected(**decoded)


@cache
def _fields(expected: type) -> dict[str, tuple[Any, frozenset[type]]]:
    """Field -> its type, and the plain types among it."""
    return {name: (hint, _scalars(hint)) for name, hint in typing.get_type_hints(expected).items()}


@cache
def _scalars(expected: Any) -> frozenset[type]:
    """The types of JSON's plain values that are fine where `expected` is asked for: most of a record."""
    if typing.get_origin(expected) is types.UnionType:
        return frozenset().union(*map(_scalars, typing.get_args(expected)))
    return {
        float: frozenset((float, int)),
        int: frozenset((int,)),
        str: frozenset((str,)),
        bool: frozenset((bool,)),
        types.NoneType: frozenset((types.NoneType,)),
    }.get(expected, frozenset())


@cache
def _left_out(of: type) -> set[str]:
    """Fields that are not written where they are empty: younger than records that must stay readable."""
    return {field.name for field in dataclasses.fields(of) if field.metadata.get("left_out")}


def _dumps(value: Any) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def _no_constant(name: str) -> float:
    raise ValueError(f"it holds {name}, which is not JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError(f"an object holds a key twice, among {', '.join(sorted(content))}")
    return content


def _shorten(value: Any) -> str:
    text = _dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
