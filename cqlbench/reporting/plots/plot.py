"""A plot before it is drawn."""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Plot:
    """One plot, before it is drawn.

    Attributes:
        name: of its files, without ending.
        title: its heading.
        caption: how to read it.
        alt: what it shows, for those who cannot see it.
        draw: draws it.
    """

    name: str
    title: str
    caption: str
    alt: str
    draw: Callable[[], Figure]
