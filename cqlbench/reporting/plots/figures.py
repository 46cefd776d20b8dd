"""Figures for papers: each function takes numbers and gives a figure; `render` makes a PDF, PNG or SVG of it.

Series differ in colour, dashes and marker alike, so they can be told apart in grey. No global state is left
changed, and equal numbers give equal bytes.
"""

import functools
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, ParamSpec

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

STYLE = Path(__file__).with_name("paper.mplstyle")
SCORE = "Normalised score (0-100)"
GREY = "#444444"
DASHED: Any = {"color": GREY, "linestyle": (0, (2, 1.5)), "linewidth": 1.0, "zorder": 1}
"""Look of a line that is no run's: the data's mean, a tie."""
_P = ParamSpec("_P")
_MARKERS = "osD^vPX*"
_DASHES: tuple[tuple[float, tuple[float, ...]] | Literal["-"], ...] = (
    "-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (2, 2)),
)  # fmt: skip
_LONGEST_NAME = 56
_LONGEST_LINE = 34
_LEGEND_LINES, _LEGEND_LINE = 3, 0.16
"""Lines of a legend that a figure has room for, and the inches that each further one takes."""
_NO_DATE: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}

Floats = NDArray[np.float64]


class Line(NamedTuple):
    """A curve and its pointwise interval, all `[P]`; NaN where there is none."""

    x: Floats
    mean: Floats
    low: Floats
    high: Floats
    first_frame: float | None = None


Lines = Mapping[tuple[str, str], Line]
"""Dataset and algorithm -> line."""


class Reference(NamedTuple):
    """The mean of each dataset that has one, drawn as a dashed line, and whose means they are."""

    label: str
    means: Mapping[str, float]


def styled(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """Let `draw` make its figure in the paper's style, whatever the caller's own settings."""

    @functools.wraps(draw)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        with style.context(STYLE, after_reset=True):
            return draw(*args, **kwargs)

    return wrapped


def render(figure: Figure, kind: str, dpi: float = 300) -> bytes:
    """The file's bytes, which depend on the numbers and on matplotlib's version only.

    Args:
        figure: made by a function of this package.
        kind: `png`, `pdf` or `svg` (letters as outlines).
        dpi: dots per inch of a PNG.
    """
    with style.context(STYLE, after_reset=True):
        FigureCanvasAgg(figure)
        file = io.BytesIO()
        figure.savefig(file, format=kind, dpi=dpi, metadata=_NO_DATE[kind])
    return file.getvalue()


@styled
def learning_curves(
    lines: Lines, ylabel: str = SCORE, order: Sequence[str] = (), reference: Reference | None = None
) -> Figure:
    """Score over gradient steps, mean over seeds and interval: a panel per dataset, a line per algorithm.

    Args:
        lines: their `x` are gradient steps.
        ylabel: what is drawn upwards.
        order: all algorithms of the report, so that one looks the same in every figure.
        reference: means of the data, drawn as a dashed line.
    """
    unit, xlabel = steps_unit(max(line.x[-1] for line in lines.values()))
    return _panels(lines, xlabel, ylabel, order, unit, reference)


def steps_unit(last: float) -> tuple[int, str]:
    """How many gradient steps a unit of the axis is, and the axis' label."""
    return (1000, "Gradient steps (thousands)") if last >= 2000 else (1, "Gradient steps")


@styled
def wall_clock_curves(
    lines: Lines, ylabel: str = SCORE, order: Sequence[str] = (), reference: Reference | None = None
) -> Figure:
    """Score over the seconds since the run began, otherwise like `learning_curves`; `x` are seconds."""
    last = max(line.x[-1] for line in lines.values())
    units = {"hours": 3600, "minutes": 60, "seconds": 1}
    name = next((name for name, seconds in units.items() if last >= 2 * seconds), "seconds")
    return _panels(lines, f"Wall-clock time ({name})", ylabel, order, units[name], reference)


@styled
def intervals(
    marks: pd.DataFrame, xlabel: str = SCORE, order: Sequence[str] = (), reference: Reference | None = None
) -> Figure:
    """A row per dataset or the like, and in it a mark and an interval per algorithm.

    Args:
        marks: `row`, `series` (the algorithm; empty for all if there is but one), `value`, and the ends of
            its interval, `low` and `high`, NaN for none.
        xlabel: what is drawn to the right.
        order: all algorithms of the report.
        reference: means of the data by row.
    """
    looks = looks_of(order or marks["series"].unique())
    rows = list(marks["row"].unique())
    figure = Figure(figsize=(5.4, 0.9 + len(rows) * (0.2 + 0.13 * marks["series"].nunique())))
    axes = figure.add_subplot()
    handles = _draw_marks(axes, marks, looks, rows)
    for row, name in enumerate(rows):
        if reference and name in reference.means:
            axes.plot([reference.means[name]] * 2, [row - 0.42, row + 0.42], **DASHED)
    _label_rows(axes, rows)
    axes.set_xlabel(xlabel)
    legend(figure, handles, reference)
    return figure


@styled
def improvement_intervals(marks: pd.DataFrame) -> Figure:
    """Probability that a run of X scores more than one of Y on the same dataset; 0.5 is a tie.

    Args:
        marks: as in `intervals`, a row per pair.
    """
    figure = intervals(marks, "P(X > Y)")
    figure.axes[0].axvline(0.5, **DASHED)
    figure.axes[0].set_xlim(-0.02, 1.02)
    return figure


@styled
def throughput(marks: pd.DataFrame, order: Sequence[str] = ()) -> Figure:
    """Gradient steps per second, times the seeds trained together, on a logarithmic scale.

    Args:
        marks: as in `intervals`, a row per machine and number of seeds.
        order: all algorithms of the report.
    """
    figure = intervals(marks, "Seed steps per second (gradient steps × seeds trained together)", order)
    axes = figure.axes[0]
    axes.set_xscale("log")
    axes.set_xlim(marks["value"].min() / 1.6, marks["value"].max() * 1.6)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter("{x:,.10g}")
    axes.xaxis.set_minor_locator(NullLocator())
    return figure


@styled
def aggregate_intervals(
    marks: pd.DataFrame, order: Sequence[str] = (), reference: Reference | None = None
) -> Figure:
    """A panel per statistic of the whole suite (median, IQM, mean, optimality gap), a row per algorithm.

    Args:
        marks: as in `intervals`; a `row` is a statistic.
        order: all algorithms of the report.
        reference: the data's by statistic.
    """
    looks = looks_of(order or marks["series"].unique())
    names = _shown(looks, marks["series"])
    statistics = marks["row"].unique()
    figure = Figure(figsize=(1.2 + 1.75 * len(statistics), 0.8 + 0.2 * bool(reference) + 0.26 * len(names)))
    panels = figure.subplots(1, len(statistics), sharey=True, squeeze=False)[0]
    for axes, statistic in zip(panels, statistics, strict=True):
        each = marks[marks["row"] == statistic]
        for row, name in enumerate(names):
            of_name = each[each["series"] == name]
            _draw_marks(axes, of_name.assign(row=row), looks, range(len(names)))
        if reference and statistic in reference.means:
            axes.axvline(reference.means[statistic], **DASHED)
        axes.set_title(statistic, parse_math=False)
        axes.margins(x=0.15)
        _label_rows(axes, names)
    figure.supxlabel(SCORE, fontsize="medium")
    legend(figure, [], reference)
    return figure


@styled
def performance_profiles(
    profiles: Mapping[str, Line], xlabel: str = SCORE, order: Sequence[str] = ()
) -> Figure:
    """Share of runs that score more than each threshold, and its interval.

    Args:
        profiles: algorithm -> shares; `x` are the thresholds, the same for all.
        xlabel: what the thresholds are.
        order: all algorithms of the report.
    """
    looks = looks_of(order or [*profiles])
    figure = Figure()
    axes = figure.add_subplot()
    handles = [draw_line(axes, profiles[name], name, looks[name], 1) for name in _shown(looks, profiles)]
    thresholds = next(iter(profiles.values())).x
    axes.set_xlim(thresholds[0], thresholds[-1])
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(f"{xlabel}, τ")
    axes.set_ylabel("Share of runs with score > τ")
    legend(figure, handles)
    return figure


class Look(NamedTuple):
    """Of one algorithm, in every figure of a report."""

    colour: str
    marker: str
    dash: Any


def looks_of(names: Iterable[str]) -> dict[str, Look]:
    """A look for each name, by its place."""
    colours = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
    return {
        name: Look(
            colours[i % len(colours)],
            _MARKERS[i % len(_MARKERS)],
            _DASHES[(i + i // len(colours)) % len(_DASHES)],
        )
        for i, name in enumerate(names)
    }


def _shown(looks: Mapping[str, Look], names: Iterable[str]) -> list[str]:
    """Those of the names that are there, in the report's order."""
    present = set(names)
    return [name for name in looks if name in present]


def _panels(
    lines: Lines, xlabel: str, ylabel: str, order: Sequence[str], unit: float, reference: Reference | None
) -> Figure:
    datasets = list(dict.fromkeys(dataset for dataset, _ in lines))
    looks = looks_of(order or dict.fromkeys(name for _, name in lines))
    columns = min(3, len(datasets)) if len(datasets) != 4 else 2
    rows = math.ceil(len(datasets) / columns)
    width, height = ((4.0, 2.5), (2.9, 2.1), (2.35, 1.75))[columns - 1]
    figure = Figure(figsize=(width * columns, height * rows + 0.5))
    panels = figure.subplots(rows, columns, squeeze=False).flat
    handles = {}
    for axes, dataset in zip(panels, datasets, strict=False):
        shown = {name: line for (place, name), line in lines.items() if place == dataset}
        for name in _shown(looks, shown):
            handles[name] = draw_line(axes, shown[name], name, looks[name], unit)
        mean = reference.means.get(dataset) if reference else None
        if mean is not None:
            axes.axhline(mean, **DASHED)
        ends = [end for line in shown.values() for end in (line.mean, line.low, line.high)]
        set_heights(axes, [*ends, [0.0, mean or 0.0]], 0.06)
        axes.set_xlim(0, max(float(line.x[-1]) for line in shown.values()) / unit * 1.02)
        axes.set_title(_on_two_lines(dataset), parse_math=False)
    for axes in list(panels)[len(datasets) :]:
        axes.remove()
    figure.supxlabel(xlabel, fontsize="medium")
    figure.supylabel(ylabel, fontsize="medium")
    legend(figure, [handles[name] for name in _shown(looks, handles)], reference)
    return figure


def draw_line(axes: Axes, line: Line, name: str, look: Look, unit: float) -> Line2D:
    """Draw a curve and its band, `x` in such units; returns its entry in the legend."""
    x = line.x / unit
    every = max(1, math.ceil(len(x) / 6))
    if line.first_frame is not None:
        axes.axvline(line.first_frame / unit, color=GREY, linewidth=0.8, linestyle=(0, (1, 1.5)))
    axes.fill_between(x, line.low, line.high, color=look.colour, alpha=0.16, linewidth=0)
    axes.plot(
        x, line.mean, color=look.colour, linestyle=look.dash, linewidth=1.3, marker=look.marker,
        markersize=3, markevery=((len(x) - 1) % every, every),
    )  # fmt: skip
    return handle(name, look, look.dash)


def set_heights(axes: Axes, shown: Sequence[ArrayLike], margin: float) -> None:
    """Room for all that is shown, and a share of it around; an axis whose least value is 0 starts there."""
    values = np.concatenate([np.ravel(each) for each in shown])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    around = margin * ((high - low) or 1.0)
    axes.set_ylim(low - around if low else 0.0, high + around)


def _draw_marks(
    axes: Axes, marks: pd.DataFrame, looks: Mapping[str, Look], rows: Sequence[Any]
) -> list[Line2D]:
    """Marks of several algorithms beside one another in each row; returns their entries in the legend."""
    names = _shown(looks, marks["series"])
    for place, name in enumerate(names):
        look, each = looks[name], marks[marks["series"] == name]
        heights = each["row"].map(rows.index).to_numpy() + 0.7 * ((place + 0.5) / len(names) - 0.5)
        known = each["low"].notna().to_numpy()
        axes.hlines(
            heights[known], each["low"][known], each["high"][known], color=look.colour, alpha=0.45,
            linewidth=1.8 if len(names) > 1 else 5.0,
        )  # fmt: skip
        axes.plot(
            each["value"], heights, look.marker, color=look.colour,
            markersize=4.5 if look.marker in "osD^v" else 6, markeredgecolor="white", markeredgewidth=0.4,
        )  # fmt: skip
    return [handle(name, looks[name], "") for name in names if name]


def _label_rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), [shortened(label) for label in labels], parse_math=False)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")


def handle(name: str, look: Look, dash: Any) -> Line2D:
    """The entry of a legend; `dash` is empty where there is no line."""
    label = shortened(name).lstrip("_") or name
    return Line2D([], [], color=look.colour, linestyle=dash, marker=look.marker, markersize=4, label=label)


def legend(
    figure: Figure, handles: Sequence[Line2D], reference: Reference | None = None, below: bool = False
) -> None:
    """A legend above or below the panels, in as many columns as fit."""
    if reference:
        handles = [*handles, Line2D([], [], label=reference.label, **DASHED)]
    if not handles:
        return
    widths = [0.55 + 0.055 * len(str(handle.get_label())) for handle in handles]
    fits = sum(widths) <= figure.get_figwidth()
    columns = len(handles) if fits else max(1, int(figure.get_figwidth() / max(widths)))
    lines = math.ceil(len(handles) / columns)
    if lines > _LEGEND_LINES:  # what the figure was not made for, and would take from the panels
        figure.set_figheight(figure.get_figheight() + _LEGEND_LINE * (lines - _LEGEND_LINES))
    box = figure.legend(
        handles=handles, loc="outside lower center" if below else "outside upper center", ncols=columns,
        frameon=False, fontsize=7, handlelength=2.6,
    )  # fmt: skip
    for text in box.get_texts():
        text.set_parse_math(False)


def _on_two_lines(label: str) -> str:
    """A dataset's name on one line, or on two if it is long."""
    head, slash, tail = label.partition("/")
    if len(label) <= _LONGEST_LINE or not slash:
        return shortened(label)
    return f"{head}/\n{shortened(tail)}"


def shortened(name: str) -> str:
    """A name that leaves room for the axes: of a long one, its end."""
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"
