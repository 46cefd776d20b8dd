"""Runs whose policies were not evaluated: what training itself says, as a table and as curves."""

import numpy as np

from cqlbench.reporting.aggregate import Curve, Summary, curve_of, spread
from cqlbench.reporting.tables.format import ABSENT, differing_notes, marked, number_text, spread_text
from cqlbench.reporting.tables.render import Grid

SHOWN = {"critic_loss": "Critic loss", "conservative_gap": "CQL penalty", "data_value": "Q of the data"}
"""Diagnostics by name, and what they are called."""
_CAPTION = (
    "At the end of training: means over the gradient steps since the value before. A Q that keeps growing is "
    "a sign of divergence."
)
_FORM = ",.4g"


def unevaluated(summary: Summary) -> bool:
    """Whether seeds finished, and none of the run was ever evaluated."""
    return bool(summary.finished) and not any(result.evaluations for result in summary.seeds)


def curves(summary: Summary) -> dict[str, Curve]:
    """The diagnostics of `SHOWN` that the run has, over the gradient steps, by what they are called."""
    found = {}
    for name, title in SHOWN.items():
        per_seed = [
            {int(row["step"] or 0): row[name] for row in record.diagnostics if name in row}
            for record in summary.finished
        ]
        curve = curve_of([record.seed for record in summary.finished], per_seed, normalised=False)
        if curve is not None and np.isfinite(curve.values).any():
            found[title] = curve
    return found


def run_grid(summary: Summary) -> Grid:
    """What each seed of one run came to in the end."""
    drawn = curves(summary)
    places = {record.seed: place for place, record in enumerate(summary.finished)}
    rows = []
    for result in summary.seeds:
        row = [ABSENT] * (1 + len(drawn))
        if result.seed in places and drawn:
            steps = [f"{curve.steps[-1]:,}" for curve in drawn.values()]
            ends = (curve.values[places[result.seed], -1] for curve in drawn.values())
            row = [steps[0], *(number_text(end, _FORM) for end in ends)]
        status = marked(result.status, summary) if result.seed in places else result.status
        rows.append((str(result.seed), status, *row))
    head, notes = ("Seed", "Status", "Step", *drawn), differing_notes([summary])
    return Grid("Training", head, tuple(rows), _CAPTION, labels=2, notes=notes)


def suite_grid(summaries: list[Summary]) -> Grid:
    """What each of several runs came to in the end, over its seeds."""
    known = [curves(summary) for summary in summaries]
    columns = [title for title in SHOWN.values() if any(title in drawn for drawn in known)]
    rows = []
    for summary, drawn in zip(summaries, known, strict=True):
        ends = {title: spread_text(spread(curve.values[:, -1]), _FORM) for title, curve in drawn.items()}
        texts = (marked(ends[title], summary) if title in ends else ABSENT for title in columns)
        seeds = f"{len(summary.finished)}/{len(summary.seeds)}"
        rows.append((summary.lead.dataset.id, summary.label, seeds, *texts))
    head = ("Dataset", "Algorithm", "Seeds", *columns)
    caption, notes = f"Mean ± std over seeds. {_CAPTION}", differing_notes(summaries)
    return Grid("Training without evaluation", head, tuple(rows), caption, labels=2, notes=notes)
