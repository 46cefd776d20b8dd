"""Learning curves fit for a paper: no global state is left changed, and equal runs give equal bytes."""

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cqlbench.reporting.aggregate import CONFIDENCE, Curve, Floats, Summary
from cqlbench.reporting.figures import render, shortened, styled

_GREY = "#444444"
_MARKED = 12
"""Curves with no more evaluations than this show each as a dot."""
_THOUSANDS_FROM = 2000
_TITLE_CHARACTERS = 60
"""More of them leave the figure."""
_APART = 0.2
"""Least distance between the two labels, in heights of the frame."""


def learning_curve(summary: Summary, kind: str) -> bytes:
    """A run's learning curve: mean over seeds, interval, every seed, and what made the data.

    Args:
        summary: a run that has a curve.
        kind: `png` (300 dpi) or `pdf`.

    Returns:
        The file's bytes, which depend on the numbers and on matplotlib's version only.
    """
    if summary.curve is None:
        raise ValueError("No seed was evaluated to its end, so there is no curve.")
    return render(_figure(summary, summary.curve), kind)


@styled
def _figure(summary: Summary, curve: Curve) -> Figure:
    figure = Figure()
    _draw(figure.add_subplot(), summary, curve)
    return figure


def _draw(axes: Axes, summary: Summary, curve: Curve) -> None:
    colour = mpl.rcParams["axes.prop_cycle"].by_key()["color"][0]
    in_thousands = int(curve.steps[-1]) >= _THOUSANDS_FROM
    places = curve.steps / (1000 if in_thousands else 1)
    axes.set_xlabel("Gradient steps (thousands)" if in_thousands else "Gradient steps")
    axes.set_ylabel("Normalised score (0-100)" if curve.normalised else "Return per episode")
    (_draw_points if len(places) == 1 else _draw_lines)(axes, curve, places, colour)
    if summary.first_frame is not None and summary.first_frame < curve.steps[-1]:
        _mark_first_frame(axes, summary.first_frame / (1000 if in_thousands else 1))
    data = summary.lead.dataset
    behaviour = data.behaviour_score if curve.normalised else data.behaviour_return_mean
    if behaviour is not None:
        axes.axhline(behaviour, color=_GREY, linestyle=(0, (4, 3)), linewidth=1.0)
    _set_heights(axes, curve, behaviour)
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


def _set_heights(axes: Axes, curve: Curve, behaviour: float | None) -> None:
    """Room for every seed, their intervals and what made the data.

    An interval of few seeds that is more than twice as high as all the rest leaves the frame.
    """
    shown = [*curve.values[np.isfinite(curve.values)], 0.0]
    if behaviour is not None:
        shown.append(behaviour)
    low, high = min(shown), max(shown)
    band = np.concatenate([curve.low, curve.high])
    band = band[np.isfinite(band)]
    if band.size:
        span = (high - low) or 1.0
        low, high = min(low, max(band.min(), low - span / 2)), max(high, min(band.max(), high + span / 2))
    margin = 0.12 * ((high - low) or 1.0)
    axes.set_ylim(low - margin if low < 0 else 0.0, high + margin)


def _label(axes: Axes, summary: Summary, curve: Curve, behaviour: float | None, colour: str) -> None:
    count, asked = len(curve.seeds), len(summary.seeds)
    seeds = f"{count} of {asked} seeds" if count < asked else f"{count} seed{'s' if count > 1 else ''}"
    lines = [f"{summary.lead.algorithm},", f"mean of {seeds}" if count > 1 else seeds]
    if np.isfinite(curve.low).any():
        lines.append(f"and {CONFIDENCE:.0%} interval".replace("%", " %"))
    labels = [(float(curve.mean[-1]), "\n".join(lines), colour)]
    if behaviour is not None:
        labels.append((behaviour, summary.behaviour_label.replace(" ", "\n"), _GREY))
    labels = sorted((label for label in labels if np.isfinite(label[0])), key=lambda label: label[0])
    low, high = axes.get_ylim()
    heights = [(value - low) / (high - low) for value, _, _ in labels]
    if len(heights) == 2 and heights[1] - heights[0] < _APART:
        middle = sum(heights) / 2
        heights = [middle - _APART / 2, middle + _APART / 2]
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
