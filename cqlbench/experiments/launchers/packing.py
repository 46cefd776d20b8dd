"""The plan: how many units, on what, how many at a time, and how long that takes by what is recorded."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Self

from rich.console import Console
from rich.text import Text

from cqlbench.core.text import counted, duration
from cqlbench.experiments.launchers.unit import Unit
from cqlbench.experiments.plan import Plan
from cqlbench.records.store import RecordStore


@dataclass(frozen=True)
class Packing:
    """What is to be run, and how.

    Attributes:
        units: what to run.
        where: on what, for people.
        slots: how many at a time.
        seconds: of each unit, by number, where runs of its kind are recorded.
    """

    units: Sequence[Unit]
    where: str
    slots: int
    seconds: Mapping[int, float]

    @classmethod
    def of(cls, units: Sequence[Unit], plans: Mapping[int, Plan], where: str, slots: int) -> Self:
        """`plans`: of each unit, by its number, with its seeds."""

        @cache
        def known(results: str, algorithm: str, budget: str) -> list[tuple[str, int, int, float]]:
            found = RecordStore(Path(results), lambda _: None).find(algorithm=algorithm, budget=budget)
            return [
                (
                    each.machine.device[:4],
                    len(each.seed_batch),
                    each.budget.steps,
                    each.throughput.total_seconds,
                )
                for each in found
                if each.throughput is not None
            ]

        seconds = {}
        for unit in units:
            plan = plans[unit.number]
            config, kind = plan.config, (plan.device.type[:4], len(plan.config.seeds), plan.budget.steps)
            alike = [
                each[3]
                for each in known(config.results, config.algorithm.name, plan.budget.name)
                if each[:3] == kind
            ]
            if alike:
                seconds[unit.number] = fmean(alike)
        return cls(units, where, slots, seconds)

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
