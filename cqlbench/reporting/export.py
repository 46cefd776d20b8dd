"""Records as one tidy table for pandas: a row per evaluation, a column per variable."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from cqlbench.core.errors import ConfigError
from cqlbench.records.pooling import differing, groups, origin_of
from cqlbench.records.schema import Evaluation, Record, RecordKey
from cqlbench.records.seed_result import mean_of, mean_score
from cqlbench.records.settings import flat
from cqlbench.records.store import run_folder

Row = dict[str, Any]


def rows_of(records: Sequence[Record]) -> list[Row]:
    """A row per evaluation; one without an evaluation's columns for a record that has none.

    Columns: the run, its seed and how it ended; `differing`, what must be said where these seeds of the run
    are pooled; `step`, `score`, `return`, `length` (means over episodes) and `wall_seconds`; `diagnostics.*`
    of that step; everything else of the record under its own name.
    """
    runs: dict[str, list[Record]] = {}
    for record in records:
        runs.setdefault(run_folder(record.key), []).append(record)
    said: dict[RecordKey, str | None] = {}
    for seeds in runs.values():
        origins = [origin_of(record) for record in seeds]
        for places in groups(origins):
            pooled = {seeds[each].seed: origins[each] for each in places if seeds[each].status == "finished"}
            phrases = "; ".join(differing(pooled)) or None
            said |= {seeds[each].key: phrases for each in places}
    return [row for record in records for row in _rows(record, said[record.key])]


def to_csv(rows: Sequence[Row]) -> bytes:
    """A header and a line per row; an empty field is a value that is not there."""
    file = io.StringIO()
    writer = csv.DictWriter(file, _columns(rows), lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def to_parquet(rows: Sequence[Row]) -> bytes:
    """The same as a Parquet file.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError("Parquet needs pyarrow: pip install 'cqlbench[parquet]'; or say .csv.") from error
    columns = {name: _column([row.get(name) for row in rows]) for name in _columns(rows)}
    buffer = io.BytesIO()
    parquet.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def _rows(record: Record, said: str | None) -> list[Row]:
    shared = {
        "run": run_folder(record.key),
        "seed": record.seed,
        "status": record.status,
        "differing": said,
        **flat(
            {
                name: value
                for name, value in asdict(record).items()
                if name not in ("seed", "status", "evaluations", "diagnostics", "protocol", "throughput")
            }
        ),
        **flat({"protocol": asdict(record.protocol)} if record.protocol else {}),
        **flat({"throughput": asdict(record.throughput)} if record.throughput else {}),
    }
    training = {row["step"]: flat({"diagnostics": row}) for row in record.diagnostics}
    rows = [
        shared | _evaluation(each) | training.get(each.step, {}) for each in record.evaluations
    ]  # fmt: skip
    return rows or [shared]


def _evaluation(evaluation: Evaluation) -> Row:
    return {
        "step": evaluation.step,
        "score": mean_score(evaluation),
        "return": mean_of(evaluation.returns),
        "length": mean_of(evaluation.lengths),
        "wall_seconds": evaluation.wall_seconds,
    }


def _columns(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row if name != "diagnostics.step"))


def _column(values: list[Any]) -> list[Any]:
    """Values of one type, as Parquet wants them: whole numbers beside others as floats, a mixture as text."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds <= {int, float} and float in kinds:
        return [None if value is None else float(value) for value in values]
    return values if len(kinds) <= 1 else [None if value is None else str(value) for value in values]
