"""The plan: how many units, on what, how many at a time, and how long that takes by what is recorded."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from rich.console import Console
from rich.text import Text

from cqlbench.core.text import counted, duration
from cqlbench.experiments.launchers.unit import Unit


@dataclass(frozen=True)
class Packing:
    """What is to be run, and how.

    Attributes:
        where: on what, for people.
        slots: how many at a time.
        seconds: of each unit, by number, where runs of its kind are recorded.
    """

    units: Sequence[Unit]
    where: str
    slots: int
    seconds: Mapping[int, float]

    @property
    def total(self) -> float | None:
        """Seconds that all of it takes, units of unknown kinds taken for average ones; `None`: not known."""
        if not self.seconds:
            return None
        rounds = max(len(self.units) / self.slots, 1.0)
        return math.ceil(rounds) * fmean(self.seconds.values())

    def show(self, console: Console) -> None:
        """Say it."""
        count = len(self.units)
        lines = [f"Plan     {counted(count, 'unit')} on {self.where}: {min(count, self.slots)} at a time"]
        if self.total is None:
            lines.append("Time     not known: no run of these kinds is recorded")
        else:
            unknown = count - len(self.seconds)
            but = f"; {unknown} of {count} are of kinds that are not recorded" if unknown else ""
            lines.append(
                f"Time     about {duration(self.total)}, as recorded runs of the same kinds took{but}"
            )
        for line in lines:
            console.print(Text(line), soft_wrap=True)
