"""A run's learning curve, fit for a paper: no global state is changed, and equal runs give equal bytes."""

from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cqlbench.core.errors import ConfigError
from cqlbench.core.text import counted
from cqlbench.reporting import training
from cqlbench.reporting.aggregate import Curve, Summary
from cqlbench.reporting.plots.plot import Plot, caption_files, sample_text
from cqlbench.reporting.plots.style import (
    COLUMN,
    DASHED,
    GREY,
    SCORE,
    TEXT,
    legend,
    looks_of,
    render,
    set_heights,
    shortened,
    steps_unit,
    styled,
)
from cqlbench.reporting.tables.format import marked

_MARKED = 12
"""Curves with no more evaluations than this show each as a dot."""


def learning_curve(summary: Summary, kind: str) -> bytes:
    """A run's learning curve as a file, `png` (300 dpi) or `pdf`: see `curve_figure`."""
    return render(curve_figure(summary), kind)


def caption(summary: Summary) -> dict[str, str]:
    """The caption of a run's learning curve, as text and as a LaTeX figure by the ending of the file."""
    curves = curves_of(summary)
    what = "score" if summary.curve and summary.curve.normalised else "return per episode"
    drawn = f"Mean {what} at each evaluation" if summary.curve else "Means of what training recorded"
    reference = f" Dashed: {summary.behaviour_label}." if _behaviour(summary) is not None else ""
    plot = Plot(
        "learning-curve",
        f"{summary.lead.algorithm} on {summary.lead.dataset.id}",
        f"{drawn}; each thin line is a seed. The band is the 95 % interval of the mean (Student's t), none "
        f"for fewer than three seeds.{reference} {sample_text(summary.lead.budget.name, [summary])}",
        "",
        partial(curve_figure, summary),
    )
    return caption_files(plot, plot.name, COLUMN if len(curves) == 1 else TEXT)


@styled
def curve_figure(summary: Summary) -> Figure:
    """A run's learning curve: mean over seeds, interval, every seed, and the behaviour policy.

    Of a run that was not evaluated: its losses and Q values.

    Raises:
        ConfigError: no seed finished, so there is no curve.
    """
    curves = curves_of(summary)
    if not curves:
        raise ConfigError("No seed finished, so there is no curve.")
    figure = Figure(figsize=(COLUMN if len(curves) == 1 else TEXT, 2.7))
    colour, first = looks_of([""])[""].colour, next(iter(curves.values()))
    handles = [Line2D([], [], color=colour, label=_seeds_text(summary, first))]
    behaviour = _behaviour(summary)
    if behaviour is not None:
        handles.append(Line2D([], [], label=summary.behaviour_label, **DASHED))
    for axes, (label, each) in zip(
        figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True
    ):
        _draw(axes, each, colour, summary.first_frame)
        axes.set_ylabel(label)
        if behaviour is not None:
            axes.axhline(behaviour, **DASHED)
        others = [0.0, behaviour or 0.0] if summary.curve is not None else []
        set_heights(axes, [each.values, each.low, each.high, others], 0.12)
    figure.suptitle(_heading(summary), x=0.01, ha="left", fontsize=8, parse_math=False)
    legend(figure, handles, below=True)
    return figure


def _behaviour(summary: Summary) -> float | None:
    """What the dashed line stands at, if there is one."""
    if summary.curve is None:
        return None
    data = summary.lead.dataset
    return data.behaviour_score if summary.curve.normalised else data.behaviour_return_mean


def curves_of(summary: Summary) -> dict[str, Curve]:
    """What is drawn upwards -> curve; empty where no seed finished."""
    if summary.curve is not None:
        return {SCORE if summary.curve.normalised else "Return per episode": summary.curve}
    return training.curves(summary) if training.unevaluated(summary) else {}


def _draw(axes: Axes, curve: Curve, colour: str, first_frame: int | None) -> None:
    unit, xlabel = steps_unit(curve.steps[-1])
    places = curve.steps / unit
    axes.set_xlabel(xlabel)
    if len(places) == 1:
        # Side by side, so that equal seeds do not hide one another.
        beside = places * np.linspace(0.86, 0.94, len(curve.seeds))
        axes.plot(beside, curve.values[:, 0], "o", color=colour, alpha=0.5, markersize=3)
        half = np.nan_to_num(curve.high - curve.mean)
        axes.errorbar(places, curve.mean, half, fmt="D", color=colour, markersize=5, capsize=3, elinewidth=1)
        axes.set_xlim(0.5 * places[0], 1.5 * places[0])
        axes.set_xticks(places)
        return
    axes.plot(places, curve.values.T, color=colour, alpha=0.5, linewidth=0.5)
    axes.fill_between(places, curve.low, curve.high, color=colour, alpha=0.16, linewidth=0)
    marker = "o" if len(places) <= _MARKED else ""
    axes.plot(places, curve.mean, color=colour, marker=marker, markersize=3, clip_on=False)
    axes.set_xlim(0, places[-1])
    if first_frame is not None and first_frame < curve.steps[-1]:
        axes.axvline(first_frame / unit, color=GREY, linewidth=0.8)
        for side, text in (("right", "offline "), ("left", " online")):
            up = axes.get_xaxis_transform()
            axes.text(first_frame / unit, 0.98, text, transform=up, ha=side, va="top", fontsize=7, color=GREY)


def _heading(summary: Summary) -> str:
    run = f"{shortened(summary.lead.algorithm)}, budget {summary.lead.budget.name}"
    lines = [shortened(summary.lead.dataset.id), run + (", not evaluated" if summary.curve is None else "")]
    if summary.curve is not None and summary.incomparable_because:
        lines.append("(not comparable with published scores)")
    return "\n".join(lines)


def _seeds_text(summary: Summary, curve: Curve) -> str:
    count, asked = len(curve.seeds), len(summary.seeds)
    seeds = f"{count} of {asked} seeds" if count < asked else counted(count, "seed")
    ends = " and 95 % interval" if np.isfinite(curve.low).any() else ""
    return marked(f"mean of {seeds}{ends}" if count > 1 else seeds, summary)
