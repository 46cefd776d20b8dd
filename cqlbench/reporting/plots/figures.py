"""Figures for papers: each function takes numbers and gives a figure; `style.render` makes a file of it.

Series differ in colour, dashes and marker alike, so they can be told apart in grey. No global state is left
changed, and equal numbers give equal bytes.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from cqlbench.reporting.plots.style import (
    COLUMN,
    DASHED,
    GREY,
    SCORE,
    TEXT,
    TIGHT,
    Floats,
    Look,
    Reference,
    handle,
    legend,
    looks_of,
    set_heights,
    steps_unit,
    styled,
    width_of,
    wrapped,
)

_SIZE = 8.0
"""Points of titles and rows' names."""
_NARROW = 1.1
"""Inches of rows' names beside which a column still has room for marks."""
_ROW = 1.75
"""Inches that rows' names take at most."""
_MARK = 0.1
"""Inches from one mark of a row to the next."""
_LOWEST = 2.3
"""Inches of a figure of curves, beside which its label is not longer than the panels are high."""


class Line(NamedTuple):
    """A curve and its pointwise interval, all `[P]`; NaN where there is none."""

    x: Floats
    mean: Floats
    low: Floats
    high: Floats
    first_frame: float | None = None


Lines = Mapping[tuple[str, str], Line]
"""Dataset and algorithm -> line."""


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
    narrow = max(width_of(wrapped(name, _ROW, _SIZE), _SIZE) for name in rows) <= _NARROW
    # Rows are as high as they have series; two lines of a name need three marks' height.
    series = [_shown(looks, marks["series"][marks["row"] == row]) for row in rows]
    ends = np.cumsum([0, *(max(len(names), 2) + 1 for names in series)])
    middles = dict(zip(rows, (ends[:-1] + ends[1:]) / 2, strict=True))
    heights = {
        (row, name): middles[row] + place - (len(names) - 1) / 2
        for row, names in zip(rows, series, strict=True)
        for place, name in enumerate(names)
    }
    figure = Figure(figsize=(COLUMN if narrow else TEXT, 0.9 + _MARK * ends[-1]))
    axes = figure.add_subplot()
    places = [heights[row, name] for row, name in zip(marks["row"], marks["series"], strict=True)]
    handles = _draw_marks(axes, marks.assign(height=places), looks)
    for row, start, end in zip(rows, ends, ends[1:], strict=False):
        if reference and row in reference.means:
            axes.plot([reference.means[row]] * 2, [start + 0.3, end - 0.3], **DASHED)
        if end < ends[-1] and len(heights) > len(rows):
            axes.axhline(end, color="#DDDDDD", linewidth=0.5)
    _label_rows(axes, rows, [*middles.values()], float(ends[-1]))
    axes.set_xlabel(xlabel)
    legend(figure, handles, reference)
    return figure


@styled
def improvement_intervals(marks: pd.DataFrame) -> Figure:
    """Probability that a run of X scores more than one of Y on the same dataset, a row per pair."""
    figure = intervals(marks, "P(X > Y)")
    figure.axes[0].axvline(0.5, **DASHED)
    figure.axes[0].set_xlim(-0.02, 1.02)
    return figure


@styled
def throughput(marks: pd.DataFrame, order: Sequence[str] = ()) -> Figure:
    """Gradient steps per second, times the seeds trained together, on a logarithmic scale.

    Arguments as of `intervals`; a row per machine and number of seeds.
    """
    figure = intervals(marks, "Gradient steps per second × seeds trained together", order)
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

    Arguments as of `intervals`; a `row` is a statistic.
    """
    looks = looks_of(order or marks["series"].unique())
    names = _shown(looks, marks["series"])
    statistics = marks["row"].unique()
    width = COLUMN if len(statistics) < 3 else TEXT
    figure = Figure(figsize=(width, 0.95 + 0.2 * bool(reference) + 0.2 * len(names)))
    panels = figure.subplots(1, len(statistics), sharey=True, squeeze=False)[0]
    for axes, statistic in zip(panels, statistics, strict=True):
        each = marks[marks["row"] == statistic]
        for row, name in enumerate(names):
            of_name = each[each["series"] == name]
            _draw_marks(axes, of_name.assign(height=row + 0.5), looks)
        if reference and statistic in reference.means:
            axes.axvline(reference.means[statistic], **DASHED)
        axes.set_title(wrapped(statistic, 0.8 * (width - 1) / len(statistics), _SIZE), **TIGHT)
        axes.margins(x=0.15)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        _label_rows(axes, names, [row + 0.5 for row in range(len(names))], len(names))
    figure.supxlabel(SCORE, fontsize="medium")
    legend(figure, [], reference)
    return figure


@styled
def performance_profiles(profiles: Mapping[str, Line], order: Sequence[str] = ()) -> Figure:
    """Share of runs that score more than each threshold, and its interval, by algorithm.

    The lines' `x` are the thresholds, the same for all; `order` as of `learning_curves`.
    """
    looks = looks_of(order or [*profiles])
    figure = Figure()
    axes = figure.add_subplot()
    handles = [draw_line(axes, profiles[name], name, looks[name], 1) for name in _shown(looks, profiles)]
    thresholds = next(iter(profiles.values())).x
    axes.set_xlim(thresholds[0], thresholds[-1])
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(f"{SCORE}, τ")
    axes.set_ylabel("Share of runs with score > τ")
    legend(figure, handles)
    return figure


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
    width = (COLUMN if columns == 1 else TEXT) / columns
    titles = [wrapped(dataset, width - 0.4, _SIZE) for dataset in datasets]
    title = 0.11 * max(each.count("\n") for each in titles)
    height = ((2.0, 1.7, 1.35)[columns - 1] + title) * rows + 0.55
    figure = Figure(figsize=(width * columns, max(height, _LOWEST)))
    panels = figure.subplots(rows, columns, squeeze=False).flat
    handles = {}
    for axes, dataset, name_on_top in zip(panels, datasets, titles, strict=False):
        shown = {name: line for (place, name), line in lines.items() if place == dataset}
        for name in _shown(looks, shown):
            handles[name] = draw_line(axes, shown[name], name, looks[name], unit)
        mean = reference.means.get(dataset) if reference else None
        if mean is not None:
            axes.axhline(mean, **DASHED)
        ends = [end for line in shown.values() for end in (line.mean, line.low, line.high)]
        set_heights(axes, [*ends, [0.0, mean or 0.0]], 0.06)
        axes.set_xlim(0, max(float(line.x[-1]) for line in shown.values()) / unit * 1.02)
        axes.set_title(name_on_top, **TIGHT)
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


def _draw_marks(axes: Axes, marks: pd.DataFrame, looks: Mapping[str, Look]) -> list[Line2D]:
    """Marks and their intervals, each at its `height`; returns the series' entries in the legend."""
    names = _shown(looks, marks["series"])
    for name in names:
        look, each = looks[name], marks[marks["series"] == name]
        known = each[each["low"].notna()]
        axes.hlines(
            known["height"], known["low"], known["high"], color=look.colour, alpha=0.45,
            linewidth=1.6 if len(names) > 1 else 4.0,
        )  # fmt: skip
        axes.plot(
            each["value"], each["height"], look.marker, color=look.colour,
            markersize=4 if look.marker in "osD^v" else 5, markeredgecolor="white", markeredgewidth=0.3,
        )  # fmt: skip
    return [handle(name, looks[name], "") for name in names if name]


def _label_rows(axes: Axes, labels: Sequence[str], heights: Sequence[float], last: float) -> None:
    axes.set_yticks(heights, [wrapped(label, _ROW, _SIZE) for label in labels], **TIGHT)
    axes.set_ylim(last, 0)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
