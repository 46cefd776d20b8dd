"""One style for papers: sizes, fonts, looks, legends and names, and files made of figures.

Widths are those of papers: a column of ICML, and the text of NeurIPS and ICLR. The font is STIX, which looks
like Times and comes with matplotlib, so that a figure is the same on every machine.
"""

import functools
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path
from numpy.typing import ArrayLike, NDArray

STYLE = Path(__file__).with_name("paper.mplstyle")
COLUMN, TEXT = 3.25, 5.5
"""Inches: the width of a paper's column, and of the text of a paper of one column."""
SCORE = "Normalised score (0-100)"
GREY = "#444444"
DASHED: Any = {"color": GREY, "linestyle": (0, (2, 1.5)), "linewidth": 1.0, "zorder": 1}
"""Look of a line that is no run's: the data's mean, a tie."""
_P = ParamSpec("_P")
_MARKERS = "osD^vPX*"
_DASHES: tuple[tuple[float, tuple[float, ...]] | Literal["-"], ...] = (
    "-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (2, 2)),
)  # fmt: skip
_LONGEST_NAME = 56
_SMALL = 7.0
"""Points of the text of legends and ticks."""
_LEGEND_LINES, _LEGEND_LINE = 3, 0.15
"""Lines of a legend that a figure has room for, and the inches that each further one takes."""
_HANDLE = 0.5
"""Inches of a legend's entry without its text."""
TIGHT: Any = {"linespacing": 1.15, "parse_math": False}
"""Of names on several lines."""
_NO_DATE: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}

Floats = NDArray[np.float64]


class Reference(NamedTuple):
    """The mean of each dataset that has one, drawn as a dashed line, and whose means they are."""

    label: str
    means: Mapping[str, float]


def styled(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """Let `draw` make its figure in the paper's style, whatever the caller's own settings."""

    @functools.wraps(draw)
    def in_style(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        with style.context(STYLE, after_reset=True):
            return draw(*args, **kwargs)

    return in_style


def render(figure: Figure, kind: str, dpi: float = 300) -> bytes:
    """A `png`, `pdf` or `svg` (letters as outlines); equal numbers and matplotlib give equal bytes.

    `dpi` are the dots per inch of a PNG.
    """
    with style.context(STYLE, after_reset=True):
        FigureCanvasAgg(figure)
        file = io.BytesIO()
        figure.savefig(file, format=kind, dpi=dpi, metadata=_NO_DATE[kind])
    return file.getvalue()


class Look(NamedTuple):
    """Of one algorithm, in every figure of a report."""

    colour: str
    marker: str
    dash: Any


def looks_of(names: Iterable[str]) -> dict[str, Look]:
    """A look for each name, by its place."""
    colours = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
    return {
        name: Look(
            colours[i % len(colours)],
            _MARKERS[i % len(_MARKERS)],
            _DASHES[(i + i // len(colours)) % len(_DASHES)],
        )
        for i, name in enumerate(names)
    }


def steps_unit(last: float) -> tuple[int, str]:
    """How many gradient steps a unit of the axis is, and the axis' label."""
    return (1000, "Gradient steps (thousands)") if last >= 2000 else (1, "Gradient steps")


def set_heights(axes: Axes, shown: Sequence[ArrayLike], margin: float) -> None:
    """Room for all that is shown, and a share of it around; an axis whose least value is 0 starts there."""
    values = np.concatenate([np.ravel(each) for each in shown])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    around = margin * ((high - low) or 1.0)
    axes.set_ylim(low - around if low else 0.0, high + around)


def handle(name: str, look: Look, dash: Any) -> Line2D:
    """The entry of a legend; `dash` is empty where there is no line."""
    label = shortened(name).lstrip("_") or name
    return Line2D([], [], color=look.colour, linestyle=dash, marker=look.marker, markersize=4, label=label)


def legend(
    figure: Figure, handles: Sequence[Line2D], reference: Reference | None = None, below: bool = False
) -> None:
    """A legend above or below the panels, in as many columns as fit."""
    if reference:
        handles = [*handles, Line2D([], [], label=reference.label, **DASHED)]
    if not handles:
        return
    widths = [_HANDLE + width_of(str(each.get_label()), _SMALL) for each in handles]
    columns = _columns(widths, figure.get_figwidth() - 0.15)
    lines = math.ceil(len(handles) / columns)
    if lines > _LEGEND_LINES:  # what the figure was not made for, and would take from the panels
        figure.set_figheight(figure.get_figheight() + _LEGEND_LINE * (lines - _LEGEND_LINES))
    box = figure.legend(
        handles=handles, loc="outside lower center" if below else "outside upper center", ncols=columns,
        frameon=False, fontsize=_SMALL, handlelength=2.6, columnspacing=1.4,
    )  # fmt: skip
    for text in box.get_texts():
        text.set_parse_math(False)


def _columns(widths: Sequence[float], room: float) -> int:
    """The fewest columns that make the fewest lines of entries that `room` holds."""
    for lines in range(1, len(widths)):
        columns = math.ceil(len(widths) / lines)
        # Matplotlib fills one column after the other, the first ones with one entry more.
        if sum(each.max() for each in np.array_split(np.array(widths), columns)) <= room:
            return columns
    return 1


def shortened(name: str) -> str:
    """A name that leaves room for the axes: of a long one, its end."""
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"


def width_of(text: str, size: float) -> float:
    """Inches that the widest line of a text takes in the style's font."""
    font = FontProperties(size=size)
    lines = (text_to_path.get_text_width_height_descent(line, font, False) for line in text.split("\n"))
    return max(float(width) for width, *_ in lines) / 72


def wrapped(name: str, inches: float, size: float) -> str:
    """A name, shortened, on lines no wider than this: broken at its slash, or where a word of it ends.

    Lines that it has already are taken one by one.
    """
    if "\n" in name:
        return "\n".join(wrapped(line, inches, size) for line in name.split("\n"))
    name = shortened(name)
    parts = re.findall(r"[^/_\- ]*(?:[/_\- ]+|$)", name)
    head, slash, tail = name.rpartition("/")
    if width_of(name, size) > inches and max(width_of(each, size) for each in (head + slash, tail)) <= inches:
        parts = [head + slash, tail]
    lines = [""]
    for part in parts:
        if lines[-1] and width_of((lines[-1] + part).rstrip(), size) > inches:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)
