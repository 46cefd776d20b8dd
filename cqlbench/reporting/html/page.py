"""A report as one page that needs nothing else: no network, no server; equal records give equal bytes."""

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cqlbench import __version__
from cqlbench.reporting.html.runs import run_id, runs_json
from cqlbench.reporting.plots.plot import Part, Plot
from cqlbench.reporting.plots.report import plots_of
from cqlbench.reporting.plots.style import render
from cqlbench.reporting.report import SELECTIONS, Report
from cqlbench.reporting.tables.render import Grid
from cqlbench.reporting.tables.report import document, grids

FOLDER = Path(__file__).parent
PLOT_BYTES = 1_600_000
"""All plots together; what does not fit is only in the report's folder."""
_SVG_POINTS = 3_000
"""A plot of more points is a PNG: it is smaller, and sooner drawn."""
_PIXELS = 125
"""A figure's inch on the screen."""
_LONG = 60
"""Longer texts of a table are wrapped."""
_NAME = 20
"""Longer names of rows may be broken on a phone."""
_SECTIONS = {
    "summary": "Which is best, and how sure",
    "tables": "Scores and comparisons",
    "curves": "Curves",
    "diagnostics": "Diagnostics",
    "runs": "Runs",
    "provenance": "Provenance",
}
_SECTION_OF: Mapping[Part, str] = {"answers": "tables", "curves": "curves", "diagnostics": "diagnostics"}
_NUMBER = re.compile(r"\[?[-+]?[\d,]*\.?\d")
DARK = {
    "ffffff": "14171b", "000000": "e6e9ec", "222222": "e6e9ec", "444444": "a3adb8", "dddddd": "3a424b",
    "0072b2": "4aa8e0", "e69f00": "f0b429", "009e73": "2fc896", "d55e00": "ff8a4c", "cc79a7": "e39cc6",
    "56b4e9": "9ad0f5", "882255": "d9668f", "999999": "a0a0a0", "5d3a9b": "a98be8", "117733": "7fbf6a",
    "661100": "c98a72",
}  # fmt: skip
"""What a colour of `plots/paper.mplstyle` becomes on the page's dark paper."""
_RULES = "".join(
    f'[style*="{what}: #{light}"]{{{what}:#{dark}!important}}'
    for light, dark in DARK.items()
    for what in ("fill", "stroke")
)
_STYLE = f"<style>@media (prefers-color-scheme: dark){{svg{{fill:#{DARK['000000']}}}{_RULES}}}</style>"


def page(report: Report) -> str:
    """The report as HTML, below 8 MB for 1,000 records."""
    tables = grids(report)
    shown = [grid for name, grid in tables.items() if name not in ("best", "runs")]
    pictures, left_out = _pictures(plots_of(report))
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    content, best = document(report), tables.get("best")
    summary = {} if content.answers or best else {"summary": "Summary"}
    environment.globals |= {"kinds_of": _kinds, "run_id": run_id, "breakable": _breakable}
    return environment.get_template("page.html").render(
        content=content,
        sections={
            each: name
            for each, name in (_SECTIONS | summary).items()
            if each not in pictures or pictures[each] or left_out[each] or (each == "tables" and shown)
        },
        facts=_facts(report),
        best=best,
        tables=shown,
        plots=pictures,
        left_out=left_out,
        runs=tables["runs"],
        data=runs_json([*report.summaries.values()]),
        records=sum(len(summary.records) for summary in report.summaries.values()),
        version=__version__,
        css=(FOLDER / "page.css").read_text(encoding="utf-8"),
        js=(FOLDER / "page.js").read_text(encoding="utf-8"),
    )


def _facts(report: Report) -> dict[str, str]:
    records = [record for summary in report.summaries.values() for record in summary.records]
    finished = sum(record.status == "finished" for record in records)
    steps = sorted({record.budget.steps for record in records})
    made = sorted(record.created_at[:10] for record in records)
    several = len(report.datasets) > 3
    return {
        "Datasets": str(len(report.datasets)) if several else ", ".join(report.datasets),
        "Algorithms": report.whose,
        "Seeds finished": f"{finished:,} of {report.cells['asked'].sum():,}",
        "Budget": f"{report.budget}: {' or '.join(f'{each:,}' for each in steps)} gradient steps",
        "Scores": f"{SELECTIONS[report.selection]}, 0-100 scale",
        "Made": made[0] if made[0] == made[-1] else f"{made[0]} to {made[-1]}",
        "Commits": ", ".join(sorted({(record.git.commit or "unknown")[:12] for record in records})),
        "Machines": ", ".join(sorted({record.machine.gpu or record.machine.cpu for record in records})),
    }


def _breakable(name: str) -> Markup:
    """A name that may be broken after a slash or an underscore; browsers know of hyphens."""
    return Markup("<wbr>").join(re.split(r"(?<=[/_])", name))


def _kinds(grid: Grid) -> list[str]:
    """Of each column `name`, `number`, `text` or `long`, which say how it is set."""
    kinds = ["name" if max((len(row[0]) for row in grid.rows), default=0) > _NAME else "text"]
    for texts in list(zip(*grid.rows, strict=True))[1:]:
        number = any(map(_NUMBER.match, texts))
        kinds.append("long" if max(map(len, texts)) > _LONG else "number" if number else "text")
    return kinds


def _pictures(plots: Sequence[Plot]) -> tuple[dict[str, list[dict[str, Any]]], dict[str, list[str]]]:
    """By the id of their section, plots as they stand in the page, and a line for each that finds no room."""
    seen, room = set(), PLOT_BYTES
    pictures: dict[str, list[dict[str, Any]]] = {each: [] for each in _SECTION_OF.values()}
    left_out: dict[str, list[str]] = {each: [] for each in _SECTION_OF.values()}
    for plot in plots:
        # Of more datasets than fit one figure of curves, the others' curves are on their runs' own pages.
        picture = None if plot.title in seen else _picture(plot)
        seen.add(plot.title)
        if picture is None or len(picture["source"]) > room:
            line = f"{plot.title} ({plot.name}): only in the report's folder, as PDF and PNG."
            left_out[_SECTION_OF[plot.part]].append(line)
            continue
        room -= len(picture["source"])
        pictures[_SECTION_OF[plot.part]].append(picture)
    return pictures, left_out


def _picture(plot: Plot) -> dict[str, Any]:
    """A plot's words, its size in pixels, and its content as an address."""
    figure = plot.draw()
    points = sum(np.size(line.get_xdata()) for axes in figure.axes for line in axes.lines)
    kind, mime = ("svg", "svg+xml") if points <= _SVG_POINTS else ("png", "png")
    drawn = render(figure, kind, dpi=150)
    content = base64.b64encode(_with_dark_colours(drawn) if kind == "svg" else drawn).decode()
    width, height = (round(float(inches) * _PIXELS) for inches in figure.get_size_inches())
    words: dict[str, Any] = {"title": plot.title, "caption": plot.caption, "alt": plot.alt}
    words |= {"pixels": kind == "png"}
    return words | {"source": f"data:image/{mime};base64,{content}", "width": width, "height": height}


def _with_dark_colours(svg: bytes) -> bytes:
    """An SVG of matplotlib that is drawn in other colours where the reader's browser asks for a dark page."""
    head, end, rest = svg.partition(b"<defs>")
    return head + _STYLE.encode() + end + rest
