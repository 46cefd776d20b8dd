"""Learning curves fit for a paper: no global state is left changed, and equal runs give equal bytes."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cqlbench.core.errors import ConfigError
from cqlbench.core.text import counted
from cqlbench.reporting import training
from cqlbench.reporting.aggregate import CONFIDENCE, Curve, Floats, Summary
from cqlbench.reporting.plots.figures import render, shortened, styled
from cqlbench.reporting.tables.format import marked

_GREY = "#444444"
_MARKED = 12
"""Curves with no more evaluations than this show each as a dot."""
_THOUSANDS_FROM = 2000
_TITLE_CHARACTERS = 60
"""More of them leave the figure."""
_LABEL_LINE = 0.07
"""Height of a label's line, in heights of the frame."""


def has_curve(summary: Summary) -> bool:
    """Whether there is anything for `learning_curve` to draw."""
    return summary.curve is not None or (training.unevaluated(summary) and bool(training.curves(summary)))


def learning_curve(summary: Summary, kind: str) -> bytes:
    """A run's learning curve as a file: see `curve_figure`.

    Args:
        summary: a run that has a curve.
        kind: `png` (300 dpi) or `pdf`.

    Returns:
        The file's bytes, which depend on the numbers and on matplotlib's version only.
    """
    return render(curve_figure(summary), kind)


def curve_figure(summary: Summary) -> Figure:
    """A run's learning curve: mean over seeds, interval, every seed, and the behaviour policy.

    Of a run that was not evaluated: its losses and Q values.

    Raises:
        ConfigError: no seed finished, so there is no curve.
    """
    if not has_curve(summary):
        raise ConfigError("No seed finished, so there is no curve.")
    return _figure(summary, summary.curve) if summary.curve is not None else _training_figure(summary)


@styled
def _figure(summary: Summary, curve: Curve) -> Figure:
    figure = Figure()
    _draw(figure.add_subplot(), summary, curve)
    return figure


@styled
def _training_figure(summary: Summary) -> Figure:
    drawn = training.curves(summary)
    figure = Figure(figsize=(1.0 + 2.4 * len(drawn), 2.8))
    for axes, (title, curve) in zip(
        figure.subplots(1, len(drawn), squeeze=False)[0], drawn.items(), strict=True
    ):
        _draw_curve(axes, curve)
        axes.set_title(title, parse_math=False)
        _set_heights(axes, curve)
    seeds = _seeds_text(summary, curve)
    ends = " and 95 % interval" if np.isfinite(curve.low).any() else ""
    run = f"{shortened(summary.lead.algorithm)}, budget {summary.lead.budget.name}: {seeds}{ends}"
    heading = f"{shortened(summary.lead.dataset.id)}\n{run}, not evaluated"
    figure.suptitle(heading, x=0.01, ha="left", fontsize=8, parse_math=False)
    return figure


def _draw_curve(axes: Axes, curve: Curve) -> tuple[str, int]:
    """Draw lines or points over the steps; returns their colour and how many steps a unit of the axis is."""
    colour = mpl.rcParams["axes.prop_cycle"].by_key()["color"][0]
    unit = 1000 if int(curve.steps[-1]) >= _THOUSANDS_FROM else 1
    axes.set_xlabel("Gradient steps (thousands)" if unit > 1 else "Gradient steps")
    (_draw_points if len(curve.steps) == 1 else _draw_lines)(axes, curve, curve.steps / unit, colour)
    return colour, unit


def _draw(axes: Axes, summary: Summary, curve: Curve) -> None:
    colour, unit = _draw_curve(axes, curve)
    axes.set_ylabel("Normalised score (0-100)" if curve.normalised else "Return per episode")
    if summary.first_frame is not None and summary.first_frame < curve.steps[-1]:
        _mark_first_frame(axes, summary.first_frame / unit)
    data = summary.lead.dataset
    behaviour = data.behaviour_score if curve.normalised else data.behaviour_return_mean
    if behaviour is not None:
        axes.axhline(behaviour, color=_GREY, linestyle=(0, (4, 3)), linewidth=1.0)
    _set_heights(axes, curve, (0.0, behaviour or 0.0))
    run = f"{shortened(summary.lead.algorithm)}, budget {summary.lead.budget.name}"
    if summary.incomparable_because:
        warning = "(not comparable with published scores)"
        run += ("\n" if len(run) + len(warning) > _TITLE_CHARACTERS else " ") + warning
    axes.set_title(f"{shortened(data.id)}\n{run}", parse_math=False)
    _label(axes, summary, curve, behaviour, colour)


def _mark_first_frame(axes: Axes, place: float) -> None:
    axes.axvline(place, color=_GREY, linewidth=0.8)
    for side, text in (("right", "offline "), ("left", " online")):
        up = axes.get_xaxis_transform()
        axes.text(place, 0.98, text, transform=up, ha=side, va="top", fontsize=7, color=_GREY)


def _draw_lines(axes: Axes, curve: Curve, places: Floats, colour: str) -> None:
    axes.plot(places, curve.values.T, color=colour, alpha=0.5, linewidth=0.5)
    axes.fill_between(places, curve.low, curve.high, color=colour, alpha=0.16, linewidth=0)
    marker = "o" if len(places) <= _MARKED else ""
    axes.plot(places, curve.mean, color=colour, marker=marker, markersize=3, clip_on=False)
    axes.set_xlim(0, places[-1])


def _draw_points(axes: Axes, curve: Curve, places: Floats, colour: str) -> None:
    # Side by side, so that equal seeds do not hide one another.
    beside = places * np.linspace(0.86, 0.94, len(curve.seeds))
    axes.plot(beside, curve.values[:, 0], "o", color=colour, alpha=0.5, markersize=3)
    half = np.nan_to_num(curve.high - curve.mean)
    axes.errorbar(places, curve.mean, half, fmt="D", color=colour, markersize=5, capsize=3, elinewidth=1)
    axes.set_xlim(0.5 * places[0], 1.5 * places[0])
    axes.set_xticks(places)


def _set_heights(axes: Axes, curve: Curve, others: Sequence[float] = ()) -> None:
    """Room for every seed, their intervals and the others; an axis whose least value is 0 starts there."""
    shown = np.concatenate([curve.values.ravel(), curve.low, curve.high, others])
    low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
    margin = 0.12 * ((high - low) or 1.0)
    axes.set_ylim(low - margin if low else 0.0, high + margin)


def _label(axes: Axes, summary: Summary, curve: Curve, behaviour: float | None, colour: str) -> None:
    lines = [f"{summary.lead.algorithm},", _seeds_text(summary, curve)]
    if np.isfinite(curve.low).any():
        lines.append(f"and {CONFIDENCE:.0%} interval".replace("%", " %"))
    labels = [(float(curve.mean[-1]), "\n".join(lines), colour)]
    if behaviour is not None:
        labels.append((behaviour, summary.behaviour_label.replace(" ", "\n"), _GREY))
    labels = sorted((label for label in labels if np.isfinite(label[0])), key=lambda label: label[0])
    low, high = axes.get_ylim()
    places = [(value - low) / (high - low) for value, _, _ in labels]
    heights = _spread(places, [_LABEL_LINE * (text.count("\n") + 1) for _, text, _ in labels])
    for (_, text, ink), height in zip(labels, heights, strict=True):
        axes.text(
            1.02,
            height,
            text,
            transform=axes.transAxes,
            color=ink,
            va="center",
            fontsize=7,
            linespacing=1.15,
            parse_math=False,
        )


def _seeds_text(summary: Summary, curve: Curve) -> str:
    count, asked = len(curve.seeds), len(summary.seeds)
    seeds = f"{count} of {asked} seeds" if count < asked else counted(count, "seed")
    return marked(f"mean of {seeds}" if count > 1 else seeds, summary)


def _spread(places: list[float], sizes: list[float]) -> list[float]:
    """Middles of labels near `places` (ascending): inside the frame, and not on top of each other."""
    heights, floor, ceiling = list(places), 0.0, 1.0
    if len(heights) == 2:
        lacking = max(0.0, sum(sizes) / 2 - (heights[1] - heights[0]))
        heights = [heights[0] - lacking / 2, heights[1] + lacking / 2]
    for index, size in enumerate(sizes):
        heights[index] = max(heights[index], floor + size / 2)
        floor = heights[index] + size / 2
    for index, size in reversed(list(enumerate(sizes))):
        heights[index] = min(heights[index], ceiling - size / 2)
        ceiling = heights[index] - size / 2
    return heights
