"""Plots as files: drawn for paper and screen, and their captions as text and as LaTeX figures."""

from collections.abc import Iterator

from cqlbench.reporting.plots.plot import Plot
from cqlbench.reporting.plots.report import plots_of
from cqlbench.reporting.plots.style import COLUMN, render
from cqlbench.reporting.report import Report
from cqlbench.reporting.tables.render import latex_text


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


def caption_files(plot: Plot, graphic: str, width: float) -> dict[str, str]:
    """The caption as text, and as a LaTeX figure, by the ending of the file.

    Args:
        plot: whose.
        graphic: name of the figure's file, without ending.
        width: the figure's, in inches; wider than a column it spans both.
    """
    kind = "figure" if width <= COLUMN else "figure*"
    text = f"{plot.title.rstrip('.')}. {plot.caption}"
    lines = (
        rf"\begin{{{kind}}}",
        r"  \centering",
        rf"  \includegraphics{{{graphic}}}",
        rf"  \caption{{{latex_text(text)}}}",
        rf"  \label{{fig:{graphic}}}",
        rf"\end{{{kind}}}",
    )
    return {"txt": f"{text}\n", "tex": "\n".join(lines) + "\n"}
