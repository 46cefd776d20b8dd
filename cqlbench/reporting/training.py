"""Runs whose policies were not evaluated: what training itself says, as a table and as curves."""

import math

import numpy as np

from cqlbench.reporting.aggregate import Curve, Summary, curve_of, spread
from cqlbench.reporting.tables.format import ABSENT, differing_notes, marked
from cqlbench.reporting.tables.render import Grid

SHOWN = {"critic_loss": "Critic loss", "conservative_gap": "CQL penalty", "data_value": "Q of the data"}
"""Diagnostics by name, and what they are called."""
_CAPTION = (
    "At the end of training: means over the gradient steps since the value before. A Q that keeps growing is "
    "a sign of divergence."
)


def unevaluated(summary: Summary) -> bool:
    """Whether seeds finished, and none of the run was ever evaluated."""
    return bool(summary.finished) and not any(result.evaluations for result in summary.seeds)


def curves(summary: Summary) -> dict[str, Curve]:
    """The diagnostics of `SHOWN` that the run has, over the gradient steps, by what they are called."""
    seeds = [record.seed for record in summary.finished]
    found = {}
    for name, title in SHOWN.items():
        per_seed = [
            {int(row["step"] or 0): _number(row[name]) for row in record.diagnostics if name in row}
            for record in summary.finished
        ]
        curve = curve_of(seeds, per_seed, normalised=False)
        if curve is not None and np.isfinite(curve.values).any():
            found[title] = curve
    return found


def run_grid(summary: Summary) -> Grid:
    """What each seed of one run came to in the end."""
    drawn = curves(summary)
    places = {record.seed: place for place, record in enumerate(summary.finished)}
    rows = []
    for result in summary.seeds:
        place = places.get(result.seed)
        ends = (ABSENT if place is None else _text(curve.values[place, -1]) for curve in drawn.values())
        steps = [f"{curve.steps[-1]:,}" for curve in drawn.values()] if place is not None else []
        status = result.status if place is None else marked(result.status, summary)
        rows.append((str(result.seed), status, steps[0] if steps else ABSENT, *ends))
    head, notes = ("Seed", "Status", "Step", *drawn), differing_notes([summary])
    return Grid("Training", head, tuple(rows), _CAPTION, labels=2, notes=notes)


def suite_grid(summaries: list[Summary]) -> Grid:
    """What each of several runs came to in the end, over its seeds."""
    known = [curves(summary) for summary in summaries]
    columns = [title for title in SHOWN.values() if any(title in drawn for drawn in known)]
    rows = tuple(
        (
            summary.lead.dataset.id,
            summary.label,
            f"{len(summary.finished)}/{len(summary.seeds)}",
            *(_over_seeds(summary, drawn.get(title)) for title in columns),
        )
        for summary, drawn in zip(summaries, known, strict=True)
    )
    head = ("Dataset", "Algorithm", "Seeds", *columns)
    caption, notes = f"Mean ± std over seeds. {_CAPTION}", differing_notes(summaries)
    return Grid("Training without evaluation", head, rows, caption, labels=2, notes=notes)


def _over_seeds(summary: Summary, curve: Curve | None) -> str:
    if curve is None:
        return ABSENT
    ends = spread(curve.values[:, -1])
    deviation = "" if ends.std is None else f" ± {_text(ends.std)}"
    return marked(f"{_text(math.nan if ends.mean is None else ends.mean)}{deviation}", summary)


def _text(value: float) -> str:
    return format(value, ",.4g") if math.isfinite(value) else ABSENT


def _number(value: float | None) -> float:
    return math.nan if value is None else value
