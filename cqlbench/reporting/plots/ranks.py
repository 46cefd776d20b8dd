"""Mean ranks as a critical-difference diagram (Demšar 2006)."""

from collections.abc import Mapping
from math import ceil

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cqlbench.reporting.plots.plot import Plot
from cqlbench.reporting.plots.style import GREY, TEXT, shortened, styled, width_of
from cqlbench.reporting.ranks import Ranks
from cqlbench.reporting.tables.format import some
from cqlbench.reporting.tables.ranks import ranks_text

_LINE = 0.17
"""Inches from one name to the next."""
_BAR = 0.08
"""Inches from one group's bar to the next."""
_SIZE = 8.0
_LONGEST = 1.9
"""Inches that a name takes at most."""


def ranks_plot(ranks: Ranks) -> Plot:
    """The plot of a report's ranks."""
    texts = [f"{name} {rank:.2f}" for name, rank in zip(ranks.names, ranks.ranks, strict=True)]
    return Plot(
        "critical-difference",
        "Mean ranks and critical difference",
        "Mean rank over the datasets, the best on the left; bars join algorithms that cannot be told apart. "
        f"{ranks_text(ranks)}",
        f"Mean ranks: {some(texts, between=', ')}. Critical difference {ranks.critical:.2f}.",
        lambda: ranks_figure(ranks),
    )


@styled
def ranks_figure(ranks: Ranks) -> Figure:
    """An axis of ranks from which lines lead to the names; bars join those that cannot be told apart."""
    count = len(ranks.names)
    left = ceil(count / 2)
    margin = min(_LONGEST, max(width_of(shortened(name), _SIZE) for name in ranks.names)) + 0.65
    bars = 0.1 + _BAR * len(ranks.cliques)
    height = 0.75 + bars + _LINE * left
    figure = Figure(figsize=(TEXT, height))
    figure.set_layout_engine("none")  # every place is known
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, TEXT)
    axes.set_ylim(height, 0)
    axes.set_axis_off()

    def at(rank: float) -> float:
        return margin + (rank - 1) / (count - 1) * (TEXT - 2 * margin)

    top = 0.62
    _draw_axis(axes, ranks, {rank: at(rank) for rank in range(1, count + 1)}, top)
    places = dict(zip(ranks.names, map(at, ranks.ranks), strict=True))
    _draw_names(axes, ranks, places, left, top + bars, top)
    for number, clique in enumerate(ranks.cliques):
        ends = [places[clique[0]] - 0.03, places[clique[-1]] + 0.03]
        axes.plot(ends, [top + 0.08 + _BAR * number] * 2, color="black", linewidth=2.6, solid_capstyle="butt")
    return figure


def _draw_axis(axes: Axes, ranks: Ranks, ticks: Mapping[int, float], top: float) -> None:
    axes.plot([ticks[1], ticks[len(ticks)]], [top, top], color="black", linewidth=0.8)
    for rank, place in ticks.items():
        axes.plot([place, place], [top - 0.06, top], color="black", linewidth=0.8)
        axes.text(place, top - 0.1, str(rank), ha="center", va="bottom", fontsize=7)
    step = ticks[2] - ticks[1]
    ends = [ticks[1], min(ticks[1] + ranks.critical * step, TEXT - 0.1)]
    axes.plot(ends, [0.26, 0.26], color=GREY, linewidth=1.2)
    for end in ends:
        axes.plot([end, end], [0.22, 0.30], color=GREY, linewidth=1.2)
    text = f"critical difference {ranks.critical:.2f}"
    axes.text(ends[0], 0.18, text, ha="left", va="bottom", fontsize=7, color=GREY)


def _draw_names(
    axes: Axes, ranks: Ranks, places: Mapping[str, float], left: int, below: float, top: float
) -> None:
    """Names of the better half on the left, the best on top; of the others on the right, the worst on top."""
    sides = [(name, row, "right") for row, name in enumerate(ranks.names[:left])]
    sides += [(name, row, "left") for row, name in enumerate(ranks.names[left:][::-1])]
    values = dict(zip(ranks.names, ranks.ranks, strict=True))
    for name, row, align in sides:
        height = below + _LINE * (row + 0.5)
        end = min(places.values()) - 0.12 if align == "right" else max(places.values()) + 0.12
        text = f"{_fitted(name)}  {values[name]:.2f}"
        if align == "left":
            text = f"{values[name]:.2f}  {_fitted(name)}"
        axes.plot([places[name], places[name], end], [top, height, height], color=GREY, linewidth=0.7)
        place = end - 0.04 if align == "right" else end + 0.04
        axes.text(place, height, text, ha=align, va="center", fontsize=_SIZE, parse_math=False)


def _fitted(name: str) -> str:
    name = shortened(name)
    while width_of(name, _SIZE) > _LONGEST:
        name = f"…{name[2:]}"
    return name
