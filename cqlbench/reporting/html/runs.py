"""What a report's page knows about each run: a compact JSON that the page's script draws on demand.

Whatever several runs share (configurations, machines, sentences, steps) is there once. A curve is drawn, not
read off: it is thinned and rounded so that the page stays small, while every number in a table is exact.
"""

import hashlib
import json
import math
import shlex
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from cqlbench.records.schema import Record
from cqlbench.records.seed_result import mean_of
from cqlbench.records.store import run_folder
from cqlbench.reporting.aggregate import Summary, reference_name
from cqlbench.reporting.tables import run as tables

_T = TypeVar("_T")
CURVE_BYTES = 4_500_000
"""All curves together."""
_POINT_BYTES = 7
_MOST_POINTS = 400


class _Shared:
    """Values that are written once and then called by their number."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._numbers: dict[str, int] = {}

    def number(self, value: Any) -> int:
        """Its number, the same for equal values."""
        key = json.dumps(value, sort_keys=True)
        if key not in self._numbers:
            self._numbers[key] = len(self.values)
            self.values.append(value)
        return self._numbers[key]


def run_id(summary: Summary) -> str:
    """The run's name in addresses (`#run-…`): the same in every report."""
    return f"run-{hashlib.sha256(run_folder(summary.lead.key).encode()).hexdigest()[:10]}"


def runs_json(summaries: Sequence[Summary]) -> str:
    """Every run, as text that may stand inside a `<script>` element."""
    shared = _Shared()
    points = _points([record for summary in summaries for record in summary.records])
    content = {"runs": [_run(summary, shared, points) for summary in summaries], "shared": shared.values}
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _run(summary: Summary, shared: _Shared, points: int) -> dict[str, Any]:
    said = tables.report(summary)
    lead = summary.lead
    ends = (None, None) if lead.protocol is None else (lead.protocol.score_min, lead.protocol.score_max)
    return {
        "id": run_id(summary),
        "dataset": lead.dataset.id,
        "algorithm": summary.label,
        "budget": lead.budget.name,
        "title": said.title,
        "warnings": [shared.number(text) for text in said.warnings],
        "grids": [
            {"title": grid.title, "columns": shared.number(grid.columns), "rows": grid.rows}
            | {"caption": shared.number(" ".join((grid.caption, *grid.notes)))}
            for grid in said.grids
        ],
        "notes": [shared.number(text) for text in said.notes],
        "commands": [shared.number(shlex.join(words)) for words in _once(r.command for r in summary.records)],
        "config": shared.number(lead.config),
        "provenance": [shared.number(text) for text in _once(_provenance(r) for r in summary.records)],
        "ends": shared.number(ends),
        "reference": shared.number(
            [lead.dataset.behaviour_score, lead.dataset.behaviour_return_mean, reference_name([summary])]
        ),
        "seeds": [_curves(record, shared, points) for record in summary.records],
    }


def _provenance(record: Record) -> dict[str, str]:
    machine = record.machine
    known = {
        "Config hash": record.config_hash,
        "Dataset content hash": record.dataset.content_hash,
        "Commit": record.git.commit
        and record.git.commit + (" with local changes" if record.git.dirty else ""),
        "Versions": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
        "Machine": f"{machine.platform}; {machine.cpu}, {machine.cores} cores, {machine.threads} threads",
        "GPU": machine.gpu,
        "Device": machine.device,
        "Memory": None if machine.memory_gib is None else f"{machine.memory_gib:g} GiB",
        "Made": record.created_at,
    }
    return {name: value for name, value in known.items() if value is not None}


def _curves(record: Record, shared: _Shared, points: int) -> dict[str, Any]:
    evaluations = _thinned(record.evaluations, points)
    rows = _thinned(record.diagnostics, points)
    names = list(dict.fromkeys(name for row in rows for name in row if name != "step"))
    returns = [mean_of(evaluation.returns) for evaluation in evaluations]
    return {
        "seed": record.seed,
        "status": record.status,
        "kept": [len(evaluations), len(record.evaluations)],
        "steps": shared.number([evaluation.step for evaluation in evaluations]),
        "return": _rounded(returns),
        "at": shared.number([row["step"] for row in rows]),
        "names": shared.number(names),
        "curves": [_rounded([row.get(name) for row in rows]) for name in names],
    }


def _points(records: Sequence[Record]) -> int:
    """How many points of each curve there is room for."""
    # A row of diagnostics has its step besides: that place is the returns'.
    curves = sum(len(record.diagnostics[-1]) if record.diagnostics else 1 for record in records)
    return int(np.clip(CURVE_BYTES / _POINT_BYTES / max(curves, 1), 2, _MOST_POINTS))


def _thinned(rows: Sequence[_T], points: int) -> list[_T]:
    """At most `points` of `rows`, evenly, the first and the last among them."""
    if len(rows) <= points:
        return list(rows)
    return [rows[index] for index in np.linspace(0, len(rows) - 1, points).round().astype(int)]


def _rounded(values: Sequence[float | None]) -> list[float | None]:
    """To what can be seen: a thousandth of the range or less, which is four digits or so."""
    known = [value for value in values if value is not None]
    span = max(known, default=0.0) - min(known, default=0.0)
    digits = 3 - math.floor(math.log10(span or max(map(abs, known), default=1.0) or 1.0))
    # Without decimals it is a whole number, which is shorter.
    return [None if value is None else round(value, digits if digits > 0 else None) for value in values]


def _once(values: Iterable[_T]) -> list[_T]:
    found: list[_T] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found
