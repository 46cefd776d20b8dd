"""A report as one page that needs nothing else: no network, no server; equal records give equal bytes."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cqlbench import __version__
from cqlbench.reporting.html.runs import run_id, runs_json
from cqlbench.reporting.plots.figures import render
from cqlbench.reporting.plots.report import Plot, plots_of
from cqlbench.reporting.report import SELECTIONS, Report
from cqlbench.reporting.tables.render import Grid
from cqlbench.reporting.tables.report import document, grids, run_cells, score_places

FOLDER = Path(__file__).parent
PLOT_BYTES = 1_200_000
"""All plots together; what does not fit is only in the report's folder."""
_SVG_POINTS = 3_000
"""A plot of more points is a PNG: it is smaller, and sooner drawn."""
_PIXELS = 105
"""A figure's inch on the screen."""
_HALF = 600
"""Pixels of the widest plot that stands beside another one."""
_LONG = 60
"""Longer texts of a table are wrapped."""
_NUMBER = re.compile(r"\[?[-+]?[\d,]*\.?\d")


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table; `href` is the element of the page that it leads to."""

    text: str
    href: str | None
    bold: bool


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        grid: what it shows.
        kinds: of each column `number`, `text` or `long`, which say how it is set.
        rows: its body.
        foot: rows that stay below when it is sorted.
    """

    grid: Grid
    kinds: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    foot: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Picture:
    """A plot as it stands in the page; sizes in pixels."""

    title: str
    caption: str
    alt: str
    source: str
    width: int
    height: int

    @property
    def wide(self) -> bool:
        """Whether it takes a row of the page for itself."""
        return self.width > _HALF


def page(report: Report) -> str:
    """The report as HTML, below 8 MB for 1,000 records."""
    content = document(report)
    pictures, left_out = _pictures(plots_of(report))
    named = grids(report)
    runs = named.pop("runs")
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html").render(
        content=content,
        facts=_facts(report),
        tables=[_table(grid, _links(report, name)) for name, grid in named.items()],
        plots=pictures,
        left_out=left_out,
        runs=_table(runs, _links(report, "runs")),
        data=runs_json(report.summaries),
        records=sum(len(summary.records) for summary in report.summaries),
        version=__version__,
        css=(FOLDER / "page.css").read_text(encoding="utf-8"),
        js=(FOLDER / "page.js").read_text(encoding="utf-8"),
    )


def _facts(report: Report) -> dict[str, str]:
    records = [record for summary in report.summaries for record in summary.records]
    finished = sum(record.status == "finished" for record in records)
    steps = sorted({record.budget.steps for record in records})
    made = sorted(record.created_at[:10] for record in records)
    commits = sorted({(record.git.commit or "unknown")[:12] for record in records})
    machines = sorted({record.machine.gpu or record.machine.cpu for record in records})
    several = len(report.datasets) > 3
    return {
        "Datasets": str(len(report.datasets)) if several else ", ".join(report.datasets),
        "Algorithms": report.whose,
        "Seeds finished": f"{finished:,} of {sum(cell.asked for cell in report.cells):,}",
        "Budget": f"{report.budget}: {' or '.join(f'{each:,}' for each in steps)} gradient steps",
        "Scores": f"{SELECTIONS[report.selection]}, 0-100 scale",
        "Made": made[0] if made[0] == made[-1] else f"{made[0]} to {made[-1]}",
        "Commits": ", ".join(commits),
        "Machines": ", ".join(machines),
    }


def _links(report: Report, table: str) -> dict[tuple[int, int], str]:
    """Row and column of the cells of a table that lead to a run's page."""
    if table == "runs":
        return {(row, 0): run_id(cell.summary) for row, cell in enumerate(run_cells(report)) if cell.summary}
    if table != "scores":
        return {}
    return {place: run_id(cell.summary) for place, cell in score_places(report).items() if cell.summary}


def _table(grid: Grid, links: Mapping[tuple[int, int], str]) -> Table:
    rows = tuple(
        tuple(
            Cell(text, links.get((row, column)), (row, column) in grid.bold)
            for column, text in enumerate(line)
        )
        for row, line in enumerate(grid.rows)
    )
    kinds = tuple(_kind([line[column] for line in grid.rows]) for column in range(len(grid.columns)))
    body = len(rows) - grid.foot
    return Table(grid, ("text", *kinds[1:]), rows[:body], rows[body:])


def _kind(texts: Sequence[str]) -> str:
    if any(len(text) > _LONG for text in texts):
        return "long"
    return "number" if any(_NUMBER.match(text) for text in texts) else "text"


def _pictures(plots: Sequence[Plot]) -> tuple[list[Picture], list[str]]:
    """Plots as they stand in the page, and a line for each that finds no room."""
    pictures, left_out, seen, room = [], [], set(), PLOT_BYTES
    for plot in plots:
        # Of more datasets than fit one figure of curves, the others' curves are on their runs' own pages.
        picture = None if plot.title in seen else _picture(plot)
        seen.add(plot.title)
        if picture is None or len(picture.source) > room:
            left_out.append(f"{plot.title} ({plot.name}): only in the report's folder, as PDF and PNG.")
            continue
        room -= len(picture.source)
        pictures.append(picture)
    return pictures, left_out


def _picture(plot: Plot) -> Picture:
    figure = plot.draw()
    points = sum(np.size(line.get_xdata()) for axes in figure.axes for line in axes.lines)
    kind, mime = ("svg", "svg+xml") if points <= _SVG_POINTS else ("png", "png")
    content = render(figure, kind, dpi=150)
    width, height = (round(float(inches) * _PIXELS) for inches in figure.get_size_inches())
    source = f"data:image/{mime};base64,{base64.b64encode(content).decode()}"
    return Picture(plot.title, plot.caption, plot.alt, source, width, height)
