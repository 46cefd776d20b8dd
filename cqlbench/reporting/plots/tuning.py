"""Score by online tuning budget, drawn: configurations tried, and episodes played by a bandit."""

from collections.abc import Sequence
from math import isnan

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from cqlbench.core.text import counted
from cqlbench.reporting.plots.figures import Line, draw_line
from cqlbench.reporting.plots.plot import Plot
from cqlbench.reporting.plots.style import COLUMN, DASHED, SCORE, TEXT, Reference, legend, looks_of, styled
from cqlbench.reporting.tuning import Curve, Tuning

_TRIED, _PLAYED = "Configurations tried", "Episodes played by a bandit"


def tuning_plot(tunings: Sequence[Tuning], reference: str, behaviour: float) -> Plot:
    """The plot of a report's tunings; `reference` and `behaviour` as in `tables.tuning.tuning_grid`."""
    ends = [
        f"{each.label} {each.tried.mean[0]:.1f} with one and {each.tried.mean[-1]:.1f} with the best of "
        f"{each.configurations} configurations"
        for each in tunings
    ]
    datasets = tunings[0].datasets
    where = f"Mean over {counted(len(datasets), 'dataset')}" if len(datasets) > 1 else f"On {datasets[0]}"
    line = "" if isnan(behaviour) else f" Dashed: {reference.lower()}."
    return Plot(
        "tuning",
        "Score by tuning budget",
        "Expected score of the best of so many configurations tried online, and of what a bandit keeps after "
        "so many episodes. Bands: 95 % bootstrap intervals over configurations and seeds, none where more "
        f"than half of the configurations are tried. {where}.{line}",
        f"Score by tuning budget: {'; '.join(ends)}.",
        lambda: tuning_figure(tunings, reference, behaviour),
    )


@styled
def tuning_figure(tunings: Sequence[Tuning], reference: str, behaviour: float) -> Figure:
    """A panel for each kind of budget, on logarithmic axes."""
    kinds = [(_TRIED, [(each, each.tried) for each in tunings])]
    played = [(each, each.played) for each in tunings if each.played is not None]
    if played:
        kinds.append((_PLAYED, played))
    looks = looks_of(each.label for each in tunings)
    figure = Figure(figsize=(COLUMN if len(kinds) == 1 else TEXT, 2.5))
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    handles = {}
    for axes, (title, curves) in zip(panels, kinds, strict=True):
        for tuning, curve in curves:
            line = Line(curve.budget.astype(float), curve.mean, curve.low, curve.high)
            handles[tuning.label] = draw_line(axes, line, tuning.label, looks[tuning.label], 1)
        if not isnan(behaviour):
            axes.axhline(behaviour, **DASHED)
        axes.set_xlabel(title)
        _logarithmic(axes, [curve for _, curve in curves])
    panels[0].set_ylabel(SCORE)
    means = None if isnan(behaviour) else Reference(reference, {})
    legend(figure, [*handles.values()], means)
    return figure


def _logarithmic(axes: Axes, curves: Sequence[Curve]) -> None:
    last = max(int(curve.budget[-1]) for curve in curves)
    axes.set_xscale("log")
    axes.set_xlim(0.95, last * 1.05)
    if last <= 32:
        axes.set_xticks([each for each in (1, 2, 4, 8, 16, 32) if each <= last])
    else:
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_locator(NullLocator())
