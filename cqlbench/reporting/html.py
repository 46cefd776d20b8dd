"""A report as one page that needs nothing else: no network, no server; equal records give equal bytes."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cqlbench import __version__, atomic
from cqlbench.records.schema import RecordError
from cqlbench.reporting.aggregate import FEWEST_SEEDS, Spread, Summary
from cqlbench.reporting.figures import render
from cqlbench.reporting.html_runs import run_id, runs_json
from cqlbench.reporting.report import SELECTIONS, Cell, Estimate, Report
from cqlbench.reporting.report_plots import Plot, plots_of

FOLDER = Path(__file__).with_name("page")
ABSENT = "–"
PLOT_BYTES = 1_400_000
"""All plots together; what does not fit is only in the report's folder."""
_LARGEST_SVG = 220_000
_PIXELS = 96
"""Of a screen's inch."""


@dataclass(frozen=True)
class Entry:
    """What stands in one place of a table.

    Attributes:
        text: what is read.
        sort: what is sorted by, where it is not the text.
        href: the element of the page that it leads to.
        best: in bold.
        note: in small letters after it.
    """

    text: str
    sort: float | None = None
    href: str | None = None
    best: bool = False
    note: str = ""


@dataclass(frozen=True)
class Column:
    """A table's column; `kind` is `number`, `text` or `long` (wrapped text)."""

    name: str
    kind: str = "number"


@dataclass(frozen=True)
class Grid:
    """A table; the first column names the rows."""

    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Entry, ...], ...]


@dataclass(frozen=True)
class Picture:
    """A plot as it stands in the page; sizes in pixels."""

    title: str
    caption: str
    alt: str
    source: str
    width: int
    height: int


def write_page(report: Report, path: Path) -> None:
    """Write the report's page, in place of an earlier one.

    Raises:
        RecordError: the file cannot be written.
    """
    try:
        atomic.replace(path, page(report).encode())
    except OSError as error:
        raise RecordError(f"The page '{path}' cannot be written ({error.strerror or error}).") from error


def page(report: Report) -> str:
    """The report as HTML, below 5 MB for 1,000 records."""
    summaries = report.summaries
    pictures, left_out = _pictures(plots_of(report))
    grids = (_scores(report), _suites(report), _improvements(report), _published(report), _unfinished(report))
    template = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    ).get_template("page.html")
    return template.render(
        title=f"{_count(len(report.algorithms), 'algorithm')} on {_count(len(report.datasets), 'dataset')}, "
        f"budget {report.budget}",
        subtitle=f"Offline reinforcement learning, {SELECTIONS[report.selection]}.",
        facts=_facts(report),
        warnings=_warnings(report),
        grids=[grid for grid in grids if grid.rows],
        plots=pictures,
        left_out=left_out,
        runs=_runs(summaries),
        data=runs_json(summaries),
        footer=f"Made by cqlbench {__version__} from "
        f"{_count(sum(len(summary.records) for summary in summaries), 'record')}; the same records give the "
        "same page.",
        css=(FOLDER / "page.css").read_text(encoding="utf-8"),
        js=(FOLDER / "page.js").read_text(encoding="utf-8"),
    )


def _facts(report: Report) -> list[tuple[str, str]]:
    records = [record for summary in report.summaries for record in summary.records]
    finished = sum(record.status == "finished" for record in records)
    asked = sum(cell.asked for cell in report.cells)
    steps = sorted({record.budget.steps for record in records})
    made = sorted(record.created_at[:10] for record in records)
    commits = sorted({(record.git.commit or "unknown")[:12] for record in records})
    machines = sorted({record.machine.gpu or record.machine.cpu for record in records})
    return [
        (
            "Datasets",
            ", ".join(report.datasets) if len(report.datasets) <= 12 else f"{len(report.datasets):,}",
        ),
        ("Algorithms", ", ".join(report.algorithms)),
        ("Seeds finished", f"{finished:,} of {asked:,}"),
        ("Budget", f"{report.budget}, {' or '.join(f'{each:,}' for each in steps)} gradient steps"),
        ("Scores", f"{SELECTIONS[report.selection]}, normalised to 0-100"),
        ("Made", made[0] if made[0] == made[-1] else f"{made[0]} to {made[-1]}"),
        ("Commits", ", ".join(commits)),
        ("Machines", ", ".join(machines)),
    ]


def _warnings(report: Report) -> list[str]:
    reasons = dict.fromkeys(summary.incomparable_because for summary in report.summaries)
    found = [f"Not comparable with published scores: {reason.rstrip('.')}." for reason in reasons if reason]
    missing = [cell for cell in report.cells if cell.summary is None]
    if missing:
        shown = ", ".join(f"{cell.algorithm} on {cell.dataset}" for cell in missing[:20])
        found.append(f"No record of {shown}{' and others' if len(missing) > 20 else ''}.")
    unfinished = sum(len(cell.unfinished) for cell in report.cells)
    if unfinished:
        found.append(f"{_count(unfinished, 'seed')} did not finish; a table below says why.")
    few = sum(1 for cell in report.cells if cell.summary is not None and cell.score.count < FEWEST_SEEDS)
    if few:
        found.append(f"{_count(few, 'run')} of fewer than {FEWEST_SEEDS} scored seeds: no interval is given.")
    if report.selection == "best":
        found.append("The best evaluation can only be picked by an oracle: these are no scores of a method.")
    return found


def _scores(report: Report) -> Grid:
    caption = (
        f"Normalised score, {SELECTIONS[report.selection]}: mean over seeds ± sample standard deviation "
        "(ddof = 1), and the 95 % interval of the mean (Student's t). n: finished seeds of those asked for."
    )
    columns = (Column("Dataset", "text"), *map(Column, report.algorithms))
    rows = tuple((Entry(dataset), *map(_score, report.row(dataset))) for dataset in report.datasets)
    return Grid("Scores", caption, columns, rows)


def _score(cell: Cell) -> Entry:
    if cell.summary is None:
        return Entry(ABSENT, note="no record")
    note = " ".join(filter(None, (_interval(cell.score), f"n = {cell.score.count}/{cell.asked}")))
    href = run_id(cell.summary)
    return Entry(_spread(cell.score), cell.score.mean, href, best=cell.best, note=note)


def _suites(report: Report) -> Grid:
    names = list(dict.fromkeys(name for suite in report.suites for name in suite.estimates))
    rows = tuple(
        (
            Entry(suite.algorithm),
            Entry(f"{suite.datasets} of {len(report.datasets)}"),
            Entry(f"{suite.runs:,}"),
            *(_estimate(suite.estimates[name]) for name in names),
        )
        for suite in report.suites
    )
    caption = (
        "Over all datasets, with 95 % stratified bootstrap intervals; none where a dataset has no score. "
        "IQM: interquartile mean. Optimality gap: how far runs fall short of 100; less is better."
    )
    columns = ("Datasets", "Runs", *(name[0].upper() + name[1:] for name in names))
    return Grid("Aggregates", caption, (Column("Algorithm", "text"), *map(Column, columns)), rows)


def _improvements(report: Report) -> Grid:
    rows = tuple(
        (Entry(each.first), Entry(each.second), _estimate(each.probability, 2))
        for each in report.improvements
    )
    caption = "How probably a run of X scores more than one of Y on the same dataset, averaged over datasets."
    columns = (Column("X", "text"), Column("Y", "text"), Column("P(X > Y)"))
    return Grid("Probability of improvement", caption, columns, rows)


def _published(report: Report) -> Grid:
    inside = {True: "yes", False: "no", None: ABSENT}
    rows = tuple(
        (
            Entry(cell.dataset),
            Entry(cell.algorithm),
            Entry(_spread(cell.score), cell.score.mean),
            Entry(each.published.source),
            Entry(_number(each.published.mean), note=_plus_minus(each.published.std)),
            Entry(_number(each.difference), note=_plus_minus(each.uncertainty)),
            Entry(inside[each.inside]),
            Entry(each.published.protocol),
        )
        for cell in report.cells
        for each in cell.published
    )
    caption = (
        "Ours less theirs, and the combined uncertainty: half of the 95 % interval of the difference of the "
        "two means (Welch's t). Published deviations are the population's, unless their protocol says otherwise."
    )
    columns = (
        Column("Dataset", "text"), Column("Algorithm", "text"), Column("Ours"), Column("Source", "text"),
        Column("Published"), Column("Difference"), Column("Within", "text"), Column("Protocol", "long"),
    )  # fmt: skip
    return Grid("Beside published scores", caption, columns, rows)


def _unfinished(report: Report) -> Grid:
    rows = tuple(
        (
            Entry(cell.dataset, href=run_id(cell.summary)),
            Entry(cell.algorithm),
            Entry(str(line.seed)),
            Entry(line.status),
            Entry(line.reason or ABSENT),
        )
        for cell in report.cells
        if cell.summary is not None
        for line in cell.unfinished
    )
    columns = (
        Column("Dataset", "text"), Column("Algorithm", "text"), Column("Seed"), Column("Status", "text"),
        Column("Reason", "long"),
    )  # fmt: skip
    return Grid("Seeds that did not finish", "None of them enters a mean.", columns, rows)


def _runs(summaries: Sequence[Summary]) -> Grid:
    caption = (
        "Every run, and its page. Last, Last 10: mean of the last evaluation and of the last ten; "
        "Best: each seed's best evaluation, which only an oracle can pick. Steps/s counts gradient steps of "
        "all seeds together."
    )
    names = ("Seeds", "Last ± std", "Last 10", "Best (oracle)", "Return", "Steps/s", "Minutes")
    columns = (Column("Dataset", "text"), Column("Algorithm", "text"), *map(Column, names))
    return Grid(
        "All runs", caption, (*columns, Column("Made", "text")), tuple(_run(summary) for summary in summaries)
    )


def _run(summary: Summary) -> tuple[Entry, ...]:
    lead = summary.lead
    speed = lead.throughput
    return (
        Entry(lead.dataset.id, href=run_id(summary)),
        Entry(lead.algorithm),
        Entry(f"{len(summary.finished)} of {len(summary.seeds)}"),
        Entry(_spread(summary.last), summary.last.mean),
        Entry(_number(summary.late.mean)),
        Entry(_number(summary.best.mean)),
        Entry(_number(summary.last_return.mean)),
        Entry(ABSENT if speed is None else f"{speed.seed_steps_per_second:,.0f}"),
        Entry(ABSENT if speed is None else f"{speed.total_seconds / 60:,.1f}"),
        Entry(lead.created_at[:10]),
    )


def _pictures(plots: Sequence[Plot]) -> tuple[list[Picture], list[str]]:
    """Plots as they stand in the page, and a line for each that finds no room."""
    pictures, left_out, room = [], [], PLOT_BYTES
    parts: dict[str, int] = {}
    for plot in plots:
        parts[plot.title] = parts.get(plot.title, 0) + 1
        # More datasets than fit a figure: their curves are on the runs' own pages.
        picture = _picture(plot) if parts[plot.title] == 1 else None
        if picture is None or len(picture.source) > room:
            left_out.append(f"{plot.title} ({plot.name}): only in the report's folder, as PDF and PNG.")
            continue
        room -= len(picture.source)
        pictures.append(picture)
    return pictures, left_out


def _picture(plot: Plot) -> Picture:
    figure = plot.draw()
    content, kind = render(figure, "svg"), "svg+xml"
    if len(content) > _LARGEST_SVG:
        content, kind = render(figure, "png", dpi=150), "png"
    width, height = (round(float(inches) * _PIXELS * 1.1) for inches in figure.get_size_inches())
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return Picture(plot.title, plot.caption, plot.alt, source, width, height)


def _spread(spread: Spread) -> str:
    return _number(spread.mean) + ("" if spread.std is None else f" ± {_number(spread.std)}")


def _interval(spread: Spread) -> str:
    return "" if spread.low is None else f"[{_number(spread.low)}, {_number(spread.high)}]"


def _estimate(estimate: Estimate, digits: int = 1) -> Entry:
    number: Callable[[float | None], str] = lambda value: _number(value, digits)  # noqa: E731
    ends = "" if estimate.low is None else f"[{number(estimate.low)}, {number(estimate.high)}]"
    return Entry(number(estimate.value), estimate.value, note=ends)


def _plus_minus(value: float | None) -> str:
    return "" if value is None else f"± {_number(value)}"


def _number(value: float | None, digits: int = 1) -> str:
    return ABSENT if value is None else format(value, f"z,.{digits}f")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
