"""Figures for papers: each function takes numbers and gives a figure; `render` makes a PDF, PNG or SVG of it.

Series differ in colour, dashes and marker alike, so they can be told apart in grey. No global state is left
changed, and equal numbers give equal bytes.
"""

import functools
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter
from numpy.typing import NDArray

STYLE = Path(__file__).with_name("paper.mplstyle")
SCORE = "Normalised score (0-100)"
_P = ParamSpec("_P")
_MARKERS = "osD^vPX*"
_DASHES: tuple[tuple[float, tuple[float, ...]] | Literal["-"], ...] = (
    "-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (2, 2)),
)  # fmt: skip
_GREY = "#444444"
_REFERENCE_DASH = (0, (2, 1.5))
_LONGEST_NAME = 56
_LONGEST_LINE = 34
_NO_DATE: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number and its interval; the ends are `None` where there is none (fewer than three seeds)."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """A curve and its pointwise interval, all `[P]`; NaN where there is none."""

    x: Floats
    mean: Floats
    low: Floats
    high: Floats
    first_frame: float | None = None


Panels = Mapping[str, Mapping[str, Line]]


@dataclass(frozen=True)
class Reference:
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
    panels: Panels, ylabel: str = SCORE, order: Sequence[str] = (), reference: Reference | None = None
) -> Figure:
    """Score over gradient steps, mean over seeds and interval: a panel per dataset, a line per algorithm.

    Args:
        panels: dataset -> algorithm -> line; `x` are gradient steps.
        ylabel: what is drawn upwards.
        order: all algorithms of the report, so that one looks the same in every figure.
        reference: means of the data, drawn as a dashed line.
    """
    last = max((line.x[-1] for lines in panels.values() for line in lines.values()), default=0)
    if last >= 2000:
        return _grid(panels, "Gradient steps (thousands)", ylabel, order, 1000, reference)
    return _grid(panels, "Gradient steps", ylabel, order, 1, reference)


@styled
def wall_clock_curves(
    panels: Panels, ylabel: str = SCORE, order: Sequence[str] = (), reference: Reference | None = None
) -> Figure:
    """Score over the seconds since the run began, otherwise like `learning_curves`; `x` are seconds."""
    last = max((line.x[-1] for lines in panels.values() for line in lines.values()), default=0)
    for unit, seconds in (("hours", 3600), ("minutes", 60)):
        if last >= 2 * seconds:
            return _grid(panels, f"Wall-clock time ({unit})", ylabel, order, seconds, reference)
    return _grid(panels, "Wall-clock time (seconds)", ylabel, order, 1, reference)


@styled
def score_intervals(
    scores: Mapping[str, Mapping[str, Estimate]],
    reference: Reference | None = None,
    order: Sequence[str] = (),
) -> Figure:
    """A row per dataset: each algorithm's mean and interval, and the data's mean.

    Args:
        scores: dataset -> algorithm -> mean over seeds.
        reference: means of the data.
        order: all algorithms of the report.
    """
    looks = _looks(order or _names(scores))
    figure = Figure(figsize=(5.4, 0.9 + len(scores) * (0.2 + 0.13 * len(_names(scores)))))
    axes = figure.add_subplot()
    present = _names(scores, looks)
    for place, name in enumerate(present):
        rows = [(row, cells[name]) for row, cells in enumerate(scores.values()) if name in cells]
        marks = [(cell, _beside(row, place, len(present))) for row, cell in rows]
        _mark(axes, marks, looks[name])
    for row, dataset in enumerate(scores):
        if reference and dataset in reference.means:
            mean = reference.means[dataset]
            axes.vlines(mean, row - 0.42, row + 0.42, _GREY, linestyles=_REFERENCE_DASH, zorder=1)
    _rows(axes, list(scores))
    axes.set_xlabel(SCORE)
    handles = [_handle(name, looks[name], "") for name in present]
    if reference:
        handles.append(_reference_handle(reference))
    _legend(figure, handles)
    return figure


@styled
def aggregate_intervals(
    statistics: Mapping[str, Mapping[str, Estimate]], xlabel: str = SCORE, order: Sequence[str] = ()
) -> Figure:
    """A panel per statistic of the whole suite (median, IQM, mean, optimality gap), a row per algorithm.

    Args:
        statistics: name of the statistic -> algorithm -> estimate.
        xlabel: what is drawn to the right.
        order: all algorithms of the report.
    """
    names = _names(statistics, order)
    looks = _looks(order or names)
    figure = Figure(figsize=(1.2 + 1.75 * len(statistics), 0.8 + 0.26 * len(names)))
    grid = figure.subplots(1, len(statistics), sharey=True, squeeze=False)[0]
    for axes, (statistic, estimates) in zip(grid, statistics.items(), strict=True):
        for row, name in enumerate(names):
            if name in estimates:
                _mark(axes, [(estimates[name], row)], looks[name], wide=True)
        axes.set_title(statistic, parse_math=False)
        axes.margins(x=0.15)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")
    _rows(grid[0], names)
    figure.supxlabel(xlabel, fontsize="medium")
    return figure


@styled
def performance_profiles(
    thresholds: Floats, profiles: Mapping[str, Line], xlabel: str = SCORE, order: Sequence[str] = ()
) -> Figure:
    """Share of runs that score more than each threshold, and its interval.

    Args:
        thresholds: `[P]`, ascending.
        profiles: algorithm -> shares `[P]`; `x` are the thresholds.
        xlabel: what the thresholds are.
        order: all algorithms of the report.
    """
    looks = _looks(order or list(profiles))
    figure = Figure()
    axes = figure.add_subplot()
    for name in _names({"": profiles}, looks):
        _curve(axes, profiles[name], looks[name], 1)
    axes.set_xlim(thresholds[0], thresholds[-1])
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(f"{xlabel}, τ")
    axes.set_ylabel("Share of runs with score > τ")
    _legend(figure, [_handle(name, looks[name]) for name in _names({"": profiles}, looks)])
    return figure


@styled
def improvement_intervals(pairs: Mapping[tuple[str, str], Estimate]) -> Figure:
    """Probability that a run of X scores more than one of Y on the same dataset; 0.5 is a tie.

    Args:
        pairs: (X, Y) -> estimate.
    """
    figure = Figure(figsize=(4.2, 0.75 + 0.26 * len(pairs)))
    axes = figure.add_subplot()
    look = _looks([""])[""]
    axes.axvline(0.5, color=_GREY, linestyle=(0, (2, 1.5)), linewidth=1.0, zorder=1)
    _mark(axes, [(estimate, row) for row, estimate in enumerate(pairs.values())], look, wide=True)
    _rows(axes, [f"{x} > {y}" for x, y in pairs])
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("P(X > Y)")
    return figure


@styled
def throughput(rates: Mapping[str, Mapping[str, Sequence[float]]], order: Sequence[str] = ()) -> Figure:
    """Gradient steps per second, times the seeds trained together, on a logarithmic scale.

    Args:
        rates: machine and seeds together -> algorithm -> seed steps per second of each run.
        order: all algorithms of the report.
    """
    looks = _looks(order or _names(rates))
    present = _names(rates, looks)
    figure = Figure(figsize=(5.4, 0.9 + len(rates) * (0.2 + 0.13 * len(present))))
    axes = figure.add_subplot()
    for row, cells in enumerate(rates.values()):
        for name, runs in cells.items():
            height = _beside(row, present.index(name), len(present))
            _mark(axes, [(Estimate(rate), height) for rate in runs], looks[name])
    values = [rate for cells in rates.values() for runs in cells.values() for rate in runs]
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 1.6, max(values) * 1.6)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    _rows(axes, list(rates))
    axes.set_xlabel("Seed steps per second (gradient steps × seeds trained together)")
    _legend(figure, [_handle(name, looks[name], "") for name in present])
    return figure


@dataclass(frozen=True)
class _Look:
    colour: str
    marker: str
    dash: tuple[float, tuple[float, ...]] | Literal["-"]


def _looks(names: Sequence[str]) -> dict[str, _Look]:
    colours = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
    return {
        name: _Look(
            colours[i % len(colours)],
            _MARKERS[i % len(_MARKERS)],
            _DASHES[(i + i // len(colours)) % len(_DASHES)],
        )
        for i, name in enumerate(names)
    }


def _names(
    table: Mapping[str, Mapping[str, object]], order: Sequence[str] | Mapping[str, object] = ()
) -> list[str]:
    """The inner names of a table, each once, in the order given or else of appearance."""
    found = dict.fromkeys(name for cells in table.values() for name in cells)
    return [name for name in dict.fromkeys([*order, *found]) if name in found]


def _grid(
    panels: Panels, xlabel: str, ylabel: str, order: Sequence[str], unit: float, reference: Reference | None
) -> Figure:
    means = reference.means if reference else {}
    looks = _looks(order or _names(panels))
    columns = min(3, len(panels)) if len(panels) != 4 else 2
    rows = math.ceil(len(panels) / columns)
    width, height = ((4.0, 2.5), (2.9, 2.1), (2.35, 1.75))[columns - 1]
    figure = Figure(figsize=(width * columns, height * rows + 0.5))
    grid = figure.subplots(rows, columns, squeeze=False).flat
    for axes, (dataset, lines) in zip(grid, panels.items(), strict=False):
        for name in _names({"": lines}, looks):
            _curve(axes, lines[name], looks[name], unit)
        if dataset in means:
            axes.axhline(means[dataset], color=_GREY, linestyle=_REFERENCE_DASH, linewidth=1.0, zorder=1)
        _set_limits(axes, list(lines.values()), unit, means.get(dataset, 0.0))
        axes.set_title(_name(dataset), parse_math=False)
    for axes in list(grid)[len(panels) :]:
        axes.remove()
    figure.supxlabel(xlabel, fontsize="medium")
    figure.supylabel(ylabel, fontsize="medium")
    handles = [_handle(name, looks[name]) for name in _names(panels, looks)]
    _legend(figure, [*handles, _reference_handle(reference)] if reference else handles)
    return figure


def _curve(axes: Axes, line: Line, look: _Look, unit: float) -> None:
    x = line.x / unit
    every = max(1, math.ceil(len(x) / 6))
    if line.first_frame is not None:
        axes.axvline(line.first_frame / unit, color=_GREY, linewidth=0.8, linestyle=(0, (1, 1.5)))
    axes.fill_between(x, line.low, line.high, color=look.colour, alpha=0.16, linewidth=0)
    axes.plot(
        x, line.mean, color=look.colour, linestyle=look.dash, linewidth=1.3, marker=look.marker,
        markersize=3, markevery=((len(x) - 1) % every, every),
    )  # fmt: skip


def _set_limits(axes: Axes, lines: Sequence[Line], unit: float, reference: float) -> None:
    """Room for every mean, its interval, and the data's mean."""
    shown = np.concatenate(
        [[0.0, reference], *(end for line in lines for end in (line.mean, line.low, line.high))]
    )
    low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
    margin = 0.06 * ((high - low) or 1.0)
    axes.set_ylim(low - margin if low < 0 else 0.0, high + margin)
    axes.set_xlim(0, max(float(line.x[-1]) for line in lines) / unit * 1.02)


def _mark(axes: Axes, marks: Sequence[tuple[Estimate, float]], look: _Look, wide: bool = False) -> None:
    """One algorithm's estimates, each at its height."""
    known = [(each.low, each.high, height) for each, height in marks if each.low is not None]
    if known:
        low, high, heights = np.array(known, np.float64).T
        axes.hlines(heights, low, high, color=look.colour, linewidth=5.0 if wide else 1.8, alpha=0.45)
    axes.plot(
        [each.value for each, _ in marks], [height for _, height in marks], look.marker, color=look.colour,
        markersize=4.5 if look.marker in "osD^v" else 6, markeredgecolor="white", markeredgewidth=0.4,
    )  # fmt: skip


def _beside(row: int, place: int, places: int) -> float:
    """Height of one of several marks in a row."""
    return row + 0.7 * ((place + 0.5) / places - 0.5)


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), [shortened(label) for label in labels], parse_math=False)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")


def _handle(name: str, look: _Look, dash: Literal[""] | None = None) -> Line2D:
    shape = look.dash if dash is None else dash
    label = shortened(name).lstrip("_") or name
    return Line2D([], [], color=look.colour, linestyle=shape, marker=look.marker, markersize=4, label=label)


def _reference_handle(reference: Reference) -> Line2D:
    return Line2D([], [], color=_GREY, linestyle=_REFERENCE_DASH, label=reference.label)


def _legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    widths = [0.55 + 0.055 * len(str(handle.get_label())) for handle in handles]
    fits = figure.get_figwidth() / max(widths, default=1)
    columns = len(handles) if sum(widths) <= figure.get_figwidth() else max(1, int(fits))
    legend = figure.legend(
        handles=list(handles), loc="outside upper center", ncols=columns, frameon=False, fontsize=7,
        handlelength=2.6,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)


def _name(label: str) -> str:
    """A dataset's name on one line, or on two if it is long."""
    head, slash, tail = label.partition("/")
    if len(label) <= _LONGEST_LINE or not slash:
        return shortened(label)
    return f"{head}/\n{shortened(tail)}"


def shortened(name: str) -> str:
    """A name that leaves room for the axes: of a long one, its end."""
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"
