"""Comparisons as tables: between a report's columns, in sentences too, and between two runs."""

from collections.abc import Sequence

from cqlbench.core.text import flat
from cqlbench.records.codec import plain
from cqlbench.records.store import run_folder
from cqlbench.reporting.aggregate import Summary
from cqlbench.reporting.comparison import Comparison, Difference
from cqlbench.reporting.report import SELECTIONS, Report, rows_of
from cqlbench.reporting.tables.format import ABSENT, deviation_text, interval_text, number_text, spread_text
from cqlbench.reporting.tables.ranks import ranks_grid
from cqlbench.reporting.tables.render import Document, Grid

_NOT_COMPARED = (
    "evaluations", "diagnostics", "first_steps", "online", "seed", "command", "reason", "status",
    "throughput",
)  # fmt: skip


def document(report: Report, comparisons: Sequence[Comparison]) -> Document:
    """What can be said of each pair, over all datasets and on each."""
    return Document(
        title=f"{report.whose}, budget {report.budget}: {SELECTIONS[report.selection]}",
        warnings=tuple(each.sentence for each in comparisons),
        grids=tuple(_grids(report, comparisons)),
        notes=(
            "Intervals of differences are Welch's, 95 %; that of the probability is of the stratified "
            "bootstrap. p: two-sided, after Holm's correction for all tests of its table.",
            *(
                f"{each.first} against {each.second}: {', '.join(each.left_out)} left out, with fewer than "
                "three scored seeds of one of them."
                for each in comparisons
                if each.left_out
            ),
        ),
    )


def _grids(report: Report, comparisons: Sequence[Comparison]) -> list[Grid]:
    rows = tuple(
        (
            each.first,
            each.second,
            str(len(each.datasets)),
            *_texts(each.whole),
            f"{each.probability:.2f} {interval_text(each.low, each.high, '.2f')}",
        )
        for each in comparisons
    )
    columns = ("First", "Second", "Datasets", "Difference", "95 % interval", "p", "P(first > second)")
    caption = (
        "First less second, means over the datasets of which both have three seeds or more. P: how probably "
        "a run of the first scores more than one of the second; 0.5 is a tie."
    )
    bold = frozenset((row, 3) for row, each in enumerate(comparisons) if each.whole.sure)
    found = [Grid("Comparison", columns, rows, caption, bold=bold, labels=2)]
    places = [(each, place) for each in comparisons for place in range(len(each.datasets))]
    scores = {
        (cell.dataset, cell.algorithm): deviation_text(cell.mean, cell.std) for cell in rows_of(report.cells)
    }
    singles = tuple(
        (
            each.datasets[place],
            each.first,
            each.second,
            *(scores[each.datasets[place], name] for name in (each.first, each.second)),
            *_texts(each.each[place]),
        )
        for each, place in places
    )
    head = ("Dataset", "First", "Second", "Score of first", "Of second", "Difference", "95 % interval", "p")
    bold = frozenset((row, 5) for row, (each, place) in enumerate(places) if each.each[place].sure)
    found.append(Grid("By dataset", head, singles, "Bold: p below 0.05.", bold=bold, labels=3))
    return [*found, ranks_grid(report.ranks)] if report.ranks is not None else found


def _texts(each: Difference) -> tuple[str, str, str]:
    p = number_text(each.p, ".2g")
    return number_text(each.value, "+z.1f"), interval_text(each.low, each.high), p


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
