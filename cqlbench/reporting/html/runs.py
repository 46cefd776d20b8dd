"""What a report's page knows about each run: a compact JSON that the page's script draws on demand.

Whatever several runs share (configurations, machines, sentences, steps) is there once. A curve is drawn, not
read off: it is thinned and rounded so that the page stays small, while every number in a table is exact.
"""

import hashlib
import json
import shlex
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from cqlbench.core.text import counted
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
_Share = Callable[[Any], int]


def run_id(run: str) -> str:
    """A run's name in addresses (`#run-…`): the same in every report."""
    return f"run-{hashlib.sha256(run.encode()).hexdigest()[:10]}"


def runs_json(summaries: Sequence[Summary]) -> str:
    """Every run, as text that may stand inside a `<script>` element.

    `shared` is a list of values, which the runs call by their number.
    """
    shared: dict[str, int] = {}

    def share(value: Any) -> int:
        return shared.setdefault(_compact(value), len(shared))

    points = _points([record for summary in summaries for record in summary.records])
    runs = _compact([_run(summary, share, points) for summary in summaries])
    return f'{{"runs":{runs},"shared":[{",".join(shared)}]}}'.replace("<", "\\u003c")


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _run(summary: Summary, share: _Share, points: int) -> dict[str, Any]:
    said = tables.report(summary)
    lead, data = summary.lead, summary.lead.dataset
    commands = dict.fromkeys(shlex.join(record.command) for record in summary.records)
    return {
        "id": run_id(run_folder(lead.key)),
        "dataset": data.id,
        "algorithm": summary.label,
        "title": said.title,
        "warnings": said.warnings,
        "grids": [
            {"title": grid.title, "columns": share(grid.columns), "rows": grid.rows}
            | {"caption": share(" ".join((grid.caption, *grid.notes)))}
            for grid in said.grids
        ],
        "notes": [share(text) for text in said.notes],
        "commands": [*commands],
        "config": share(lead.config),
        "provenance": [*dict.fromkeys(share(_provenance(record)) for record in summary.records)],
        "ends": share([lead.protocol and lead.protocol.score_min, lead.protocol and lead.protocol.score_max]),
        "reference": share([data.behaviour_score, data.behaviour_return_mean, reference_name([summary])]),
        "seeds": [_curves(record, share, points) for record in summary.records],
    }


def _provenance(record: Record) -> dict[str, str]:
    machine, commit, resumed = record.machine, record.git.commit, len(record.resumed_at)
    others = "; ".join(f"{each.platform}, {each.cpu}, {each.device}" for each in record.earlier_machines)
    known = {
        "Config hash": record.config_hash,
        "Dataset content hash": record.dataset.content_hash,
        "Commit": commit and commit + (" with local changes" if record.git.dirty else ""),
        "Versions": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
        "Machine": f"{machine.platform}; {machine.cpu}, {machine.cores} cores, {machine.threads} threads",
        "GPU": machine.gpu,
        "Device": machine.device,
        "Memory": None if machine.memory_gib is None else f"{machine.memory_gib:g} GiB",
        "Made": record.created_at,
        "Resumed": counted(resumed, "time") if resumed else None,
        "Began on": others or None,
    }
    return {name: value for name, value in known.items() if value is not None}


def _curves(record: Record, share: _Share, points: int) -> dict[str, Any]:
    evaluations = _thinned(record.evaluations, points)
    rows = _thinned(record.diagnostics, points)
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name != "step"]
    return {
        "seed": record.seed,
        "status": record.status,
        "kept": [len(evaluations), len(record.evaluations)],
        "steps": share([evaluation.step for evaluation in evaluations]),
        "return": _rounded([mean_of(evaluation.returns) for evaluation in evaluations]),
        "at": share([row["step"] for row in rows]),
        "curves": {name: _rounded([row.get(name) for row in rows]) for name in names},
    }


def _points(records: Sequence[Record]) -> int:
    """How many points of each curve there is room for."""
    # A row of diagnostics has its step besides: that place is the returns'.
    curves = sum(len(record.diagnostics[-1]) if record.diagnostics else 1 for record in records)
    return int(np.clip(CURVE_BYTES / _POINT_BYTES / max(curves, 1), 2, _MOST_POINTS))


def _thinned(rows: Sequence[_T], points: int) -> list[_T]:
    """At most `points` of `rows`, evenly, the first and the last among them."""
    places = np.linspace(0, len(rows) - 1, min(points, len(rows))).round().astype(int)
    return [rows[place] for place in places]


def _rounded(values: Sequence[float | None]) -> list[float | None]:
    """To what can be seen: a thousandth of the range or less, which is four digits or so."""
    known = [value for value in values if value is not None] or [0.0]
    span = max(known) - min(known) or max(map(abs, known)) or 1.0
    digits = 3 - int(np.floor(np.log10(span)))
    # Without decimals it is a whole number, which is shorter.
    return [None if value is None else round(value, digits if digits > 0 else None) for value in values]
