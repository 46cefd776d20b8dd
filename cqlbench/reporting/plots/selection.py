"""Estimated against true values of configurations."""

from collections.abc import Iterator, Sequence
from functools import partial

from matplotlib.figure import Figure

from cqlbench.records.store import safe_name
from cqlbench.reporting.plots.plot import Plot
from cqlbench.reporting.plots.style import COLUMN, DASHED, handle, legend, looks_of, styled
from cqlbench.reporting.selection import TRUTHS, Choice


def selection_plots(choices: Sequence[Choice]) -> Iterator[Plot]:
    """A plot of each dataset whose true returns are known; of discounted ones, if they are."""
    for choice in choices:
        known = [truth for truth in TRUTHS if choice.policies[truth].notna().any()]
        if not known:
            continue
        truth = known[-1]
        rows = choice.quality[(choice.quality["truth"] == truth) & (choice.quality["signal"] == "fqe")]
        rho = "" if rows.empty else f" Spearman's ρ {rows['rho'].iloc[0]:.2f}."
        yield Plot(
            f"selection-{safe_name(choice.dataset.rpartition('/')[2])}",
            f"Estimated and true values: {choice.dataset}",
            "A mark per configuration, means over seeds; bars reach from the lowest to the highest seed."
            + (" Dashed: equal." if truth == "discounted_return" else "")
            + rho,
            f"Fitted Q evaluation against {TRUTHS[truth]} returns of {choice.policies['label'].nunique()} "
            f"configurations.{rho}",
            partial(selection_figure, choice, truth),
        )


@styled
def selection_figure(choice: Choice, truth: str) -> Figure:
    """Fitted Q evaluation over the true returns of a column of `TRUTHS`, a series per algorithm."""
    known = choice.policies.dropna(subset=[truth, "fqe"])
    known = known.assign(algorithm=known["label"].str.partition(" ")[0])
    looks = looks_of(known["algorithm"].unique())
    figure = Figure(figsize=(COLUMN, 2.7))
    axes = figure.add_subplot()
    handles = []
    for name, of_name in known.groupby("algorithm", sort=False):
        look, groups = looks[str(name)], of_name.groupby("label", sort=False)
        means = groups[[truth, "fqe"]].mean()
        lows, highs = groups[[truth, "fqe"]].min(), groups[[truth, "fqe"]].max()
        axes.hlines(means["fqe"], lows[truth], highs[truth], color=look.colour, alpha=0.3, linewidth=0.8)
        axes.vlines(means[truth], lows["fqe"], highs["fqe"], color=look.colour, alpha=0.3, linewidth=0.8)
        axes.plot(
            means[truth],
            means["fqe"],
            look.marker,
            color=look.colour,
            markersize=4.5,
            markeredgecolor="white",
            markeredgewidth=0.4,
        )
        handles.append(handle(str(name), look, ""))
    if truth == "discounted_return":
        axes.axline((float(known[truth].mean()),) * 2, slope=1, **DASHED)
    axes.set_xlabel(f"True return, {TRUTHS[truth]}")
    axes.set_ylabel("Fitted Q evaluation")
    legend(figure, handles)
    return figure
