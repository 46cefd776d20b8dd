"""Two runs side by side: their scores, and whatever differs in how they were made."""

from cqlbench.records.codec import plain
from cqlbench.records.settings import flat
from cqlbench.records.store import run_folder
from cqlbench.reporting.aggregate import Summary
from cqlbench.reporting.tables.format import ABSENT, number_text, spread_text
from cqlbench.reporting.tables.render import Document, Grid

_NOT_COMPARED = (
    "evaluations", "diagnostics", "first_steps", "online", "seed", "command", "reason", "status",
    "throughput",
)  # fmt: skip


def compared(first: Summary, second: Summary) -> Document:
    """Both runs' scores, and the settings and versions that differ."""
    leads = first.lead, second.lead
    made = [
        flat({name: value for name, value in plain(lead).items() if name not in _NOT_COMPARED})
        for lead in leads
    ]
    settings = []
    for name in dict.fromkeys((*made[0], *made[1])):
        values = [each.get(name) for each in made]
        if values[0] != values[1]:
            settings.append((name, *(ABSENT if value is None else str(value) for value in values)))
    scores = []
    for name, field in (("last", "last"), ("last 10 mean", "late"), ("best (oracle)", "best")):
        own, other = first.over(field), second.over(field)
        change = number_text(other.mean - own.mean, "+z.1f")
        scores.append((name, spread_text(own), spread_text(other), change))
    columns = ("First", "Second")
    grids = (
        Grid("Scores", ("Score", *columns, "Second - first"), tuple(scores), "Mean ± std of finished seeds."),
        Grid("Settings", ("Setting", *columns), tuple(settings), "Only what differs."),
    )
    return Document(" against ".join(run_folder(lead.key) for lead in leads), (), grids, ())
