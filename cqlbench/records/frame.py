"""Records as pandas DataFrames: a row per evaluation, or a row per seed."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import pandas as pd

from cqlbench.core.errors import ConfigError
from cqlbench.core.text import flat
from cqlbench.records.codec import plain
from cqlbench.records.pooling import differing, groups, origin_of
from cqlbench.records.schema import Evaluation, Record, RecordError, RecordKey
from cqlbench.records.seed_result import mean_of, mean_score, seed_result
from cqlbench.records.settings import differing_settings
from cqlbench.records.store import RecordStore, run_folder

_APART = ("seed", "status", "evaluations", "diagnostics", "first_steps", "protocol", "throughput")
_CATEGORIES = ("run", "dataset", "algorithm", "settings", "budget", "status")
_EVALUATION = ("step", "score", "return", "length", "wall_seconds")


def load_results(folder: Path | str = "results", per: Literal["seed", "evaluation"] = "seed") -> pd.DataFrame:
    """All recorded seeds of a results folder, a row each: see `seeds_frame`.

    Args:
        folder: the results folder.
        per: with `evaluation` a row for each evaluation of each seed: `run`, `dataset`, `algorithm`,
            `settings`, `budget`, `status` and `seed` of the latter; `step`, gradient steps done; `score`,
            `return` and `length`, means over episodes; `wall_seconds` since the run began. A seed without
            evaluations has no row.

    Raises:
        RecordError: there are none, or a record cannot be read.
    """
    if per not in ("seed", "evaluation"):
        raise ConfigError(f"per={per!r} must be 'seed' or 'evaluation'.")
    records = RecordStore(folder).find()
    if not records:
        raise RecordError(f"There are no records in '{folder}'.")
    frame = seeds_frame(records)
    if per == "seed":
        return frame
    numbers = [_evaluation(each) for record in records for each in record.evaluations]
    rows = frame[[*_CATEGORIES, "seed"]].iloc[frame.index.repeat([len(each.evaluations) for each in records])]
    return rows.reset_index(drop=True).join(pd.DataFrame(numbers, columns=[*_EVALUATION]))


def seeds_frame(records: Sequence[Record]) -> pd.DataFrame:
    """A row per seed.

    Columns: `run`, `dataset`, `algorithm`, `settings`, `budget`, `status` (categorical), `seed`; `settings`
    are those in which runs of one dataset, algorithm and budget differ, such as `expectile=0.7`. Normalised
    scores (0 to 100) of the last evaluation (`score`), as a mean of the last ten (`score_late`) and of the
    best one (`score_best`, which only an oracle can pick); `return` and `length` (steps) of the last
    evaluation; `steps`, gradient steps; `steps_per_second`, of all seeds of the batch together;
    `comparable`, whether the score may stand beside published ones; `reason`, why the seed did not finish
    or was not evaluated. What there is not is NaN or `None`.
    """
    rows = []
    for record in records:
        result = seed_result(record)
        rows.append(
            {
                "run": run_folder(record.key),
                "dataset": record.dataset.id,
                "algorithm": record.algorithm,
                "budget": record.budget.name,
                "seed": record.seed,
                "status": record.status,
                "score": result.last,
                "score_late": result.late,
                "score_best": result.best,
                "return": result.last_return,
                "length": result.last_length,
                "steps": result.step,
                "steps_per_second": record.throughput.steps_per_second if record.throughput else None,
                "comparable": record.comparable,
                "reason": result.reason,
            }
        )
    frame = pd.DataFrame(rows).assign(settings="")
    for _, each in frame.groupby("algorithm"):
        places = [
            ((records[row].dataset.id, records[row].budget.name), records[row].config) for row in each.index
        ]
        frame.loc[each.index, "settings"] = differing_settings(places)
    return frame.astype(dict.fromkeys(_CATEGORIES, "category"))


def evaluations_frame(records: Sequence[Record]) -> pd.DataFrame:
    """A row per evaluation; one without an evaluation's columns for a record that has none.

    Columns: the run, its seed and how it ended; `differing`, what must be said where these seeds of the run
    are pooled; `step`, `score`, `return`, `length` (means over episodes) and `wall_seconds`; `diagnostics.*`
    of that step; everything else of the record under its own name, nested names joined by dots.
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
    rows = [row for record in records for row in _rows(record, said[record.key])]
    frame = pd.DataFrame(rows, dtype=object).drop(columns="diagnostics.step", errors="ignore")
    return frame.apply(_typed)


def _typed(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """The column in the type of its values, which may be missing; of several types as it is."""
    kinds = {type(value) for value in column[column.notna()]}
    if kinds == {int, float}:
        return column.astype("Float64")
    names: dict[type, Any] = {int: "Int64", float: "Float64", bool: "boolean", str: "string"}
    return column.astype(names[kinds.pop()]) if len(kinds) == 1 and kinds <= set(names) else column


def to_csv(frame: pd.DataFrame) -> bytes:
    """A header and a line per row; an empty field is a value that is not there."""
    return frame.to_csv(index=False, lineterminator="\n").encode()


def to_parquet(frame: pd.DataFrame) -> bytes:
    """The same as a Parquet file; a column of several types is text.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    mixed = [str(name) for name, values in frame.items() if values.dtype == object]
    texts = {name: frame[name].map(str, na_action="ignore") for name in mixed}
    buffer = io.BytesIO()
    try:
        frame.assign(**texts).to_parquet(buffer, index=False)
    except ImportError as error:
        raise ConfigError("Parquet needs pyarrow: pip install 'cqlbench[parquet]'; or say .csv.") from error
    return buffer.getvalue()


def _rows(record: Record, said: str | None) -> list[dict[str, Any]]:
    shared = {
        "run": run_folder(record.key),
        "seed": record.seed,
        "status": record.status,
        "differing": said,
        **flat({name: value for name, value in plain(record).items() if name not in _APART}),
        **flat({"protocol": msgspec.to_builtins(record.protocol)} if record.protocol else {}),
        **flat({"throughput": msgspec.to_builtins(record.throughput)} if record.throughput else {}),
    }
    training = {row["step"]: flat({"diagnostics": row}) for row in record.diagnostics}
    rows = [
        shared | _evaluation(each) | training.get(each.step, {}) for each in record.evaluations
    ]  # fmt: skip
    return rows or [shared]


def _evaluation(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "step": evaluation.step,
        "score": mean_score(evaluation),
        "return": mean_of(evaluation.returns),
        "length": mean_of(evaluation.lengths),
        "wall_seconds": evaluation.wall_seconds,
    }
