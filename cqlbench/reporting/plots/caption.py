"""What stands below a figure: how to read it, and of how many seeds and episodes it is."""

from collections.abc import Iterable, Sequence

from cqlbench.core.text import counted
from cqlbench.reporting.aggregate import Summary
from cqlbench.reporting.plots.plot import Plot
from cqlbench.reporting.plots.style import COLUMN
from cqlbench.reporting.tables.render import latex_text


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
