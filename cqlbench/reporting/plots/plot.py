"""A plot before it is drawn."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from matplotlib.figure import Figure

Part = Literal["answers", "curves", "diagnostics"]


@dataclass(frozen=True)
class Plot:
    """One plot, before it is drawn.

    Attributes:
        name: of its files, without ending.
        title: its heading.
        caption: how to read it, which intervals it shows, and of how many seeds and episodes.
        alt: what it shows, for those who cannot see it.
        draw: draws it.
        part: of the report's page.
    """

    name: str
    title: str
    caption: str
    alt: str
    draw: Callable[[], Figure]
    part: Part = "answers"
