"""Plots as files: drawn for paper and screen, and their captions."""

from collections.abc import Iterator

from cqlbench.reporting.plots.caption import caption_files
from cqlbench.reporting.plots.plot import Plot
from cqlbench.reporting.plots.report import plots_of
from cqlbench.reporting.plots.style import render
from cqlbench.reporting.report import Report


def plot_files(report: Report) -> Iterator[tuple[str, bytes]]:
    """The files of every plot: see `files_of`."""
    for plot in plots_of(report):
        yield from files_of(plot, report.section)


def files_of(plot: Plot, section: str) -> Iterator[tuple[str, bytes]]:
    """A plot as `<name>.pdf` and `.png`, and its caption as `.txt` and `.tex`, with its content.

    Args:
        plot: whose.
        section: what the files' names will end in, before their ending; empty for nothing.
    """
    figure = plot.draw()
    for kind in ("pdf", "png"):
        yield f"{plot.name}.{kind}", render(figure, kind)
    graphic = f"{plot.name}-{section}" if section else plot.name
    for kind, text in caption_files(plot, graphic, float(figure.get_figwidth())).items():
        yield f"{plot.name}.{kind}", text.encode()
