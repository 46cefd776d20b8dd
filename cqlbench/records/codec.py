"""`Record` to strict JSON and back; reading refuses whatever is not exactly of this schema."""

import json
from pathlib import Path
from typing import Any

import msgspec

from cqlbench.records.schema import Record, RecordError

_DECODER = msgspec.json.Decoder(Record)


def to_json(record: Record) -> str:
    """Strict JSON: one line per top-level field, evaluation and diagnostics row.

    Raises:
        ValueError: a number is not finite where `None` is not allowed.
    """
    # The version first, so that a reader of the file meets it first.
    content = {"schema_version": record.schema_version} | msgspec.to_builtins(record)
    lines = []
    for name, value in content.items():
        text = _dumps(value)
        if name in ("evaluations", "diagnostics", "first_steps") and value:
            text = "[\n" + ",\n".join(f"  {_dumps(row)}" for row in value) + "\n ]"
        lines.append(f" {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def plain(record: Record) -> dict[str, Any]:
    """Every field, those of no value that files leave out included, in plain JSON types."""
    return {name: msgspec.to_builtins(value) for name, value in msgspec.structs.asdict(record).items()}


def from_json(text: str | bytes, source: Path | str) -> Record:
    """Read what `to_json` wrote; `source` says in messages where it came from.

    Raises:
        RecordError: not strict JSON, of a newer schema, or not exactly the fields and types of this one.
    """
    try:
        return _DECODER.decode(text)
    except ValueError as error:
        hint = "; update cqlbench" if "<=" in str(error) and "schema_version" in str(error) else ""
        raise RecordError(f"Record '{source}' cannot be used: {error}{hint}.") from error


def _dumps(value: Any) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False)
