"""A plot before it is drawn, and as files with a caption: how to read it, and of how many runs it is."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.figure import Figure

from cqlbench.core.text import counted
from cqlbench.reporting.aggregate import Summary
from cqlbench.reporting.plots.style import COLUMN, render
from cqlbench.reporting.tables.render import latex_text

Part = Literal["answers", "curves", "diagnostics"]


@dataclass(frozen=True)
class Plot:
    """One plot, before it is drawn.

    Attributes:
        name: of its files, without ending.
        caption: how to read it, which intervals it shows, and of how many seeds and episodes.
        alt: what it shows, for those who cannot see it.
        part: of the report's page.
    """

    name: str
    title: str
    caption: str
    alt: str
    draw: Callable[[], Figure]
    part: Part = "answers"


def files_of(plot: Plot, section: str) -> Iterator[tuple[str, bytes]]:
    """A plot as `<name>.pdf` and `.png`, and its caption as `.txt` and `.tex`, with its content.

    `section` is what the files' names will end in, before their ending; empty for nothing.
    """
    figure = plot.draw()
    for kind in ("pdf", "png"):
        yield f"{plot.name}.{kind}", render(figure, kind)
    graphic = f"{plot.name}-{section}" if section else plot.name
    for kind, text in caption_files(plot, graphic, float(figure.get_figwidth())).items():
        yield f"{plot.name}.{kind}", text.encode()


def sample_text(budget: str, summaries: Iterable[Summary]) -> str:
    """The budget, and of how many seeds and episodes the numbers of these runs are."""
    finished = [summary for summary in summaries if summary.finished]
    protocols = [summary.lead.protocol for summary in finished if summary.evaluated]
    seeds = _range([len(summary.finished) for summary in finished], "seed")
    episodes = _range([each.episodes for each in protocols if each], "episode")
    played = f", {episodes} per seed and evaluation" if episodes else ""
    return f"Budget {budget}, n = {seeds or '0 seeds'}{played}."


def _range(numbers: Sequence[int], noun: str) -> str:
    known = sorted(set(numbers))
    if not known:
        return ""
    return counted(known[-1], noun) if len(known) == 1 else f"{known[0]} to {counted(known[-1], noun)}"


def caption_files(plot: Plot, graphic: str, width: float) -> dict[str, str]:
    """The caption as text, and as a LaTeX figure of the file `graphic`, by the ending of the file.

    Of a `width` in inches that is wider than a column, it spans both.
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
