"""Have scores dropped, or risen? The bootstrap's answer, for each dataset and for all together."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cqlbench.core.seeding import Purpose, numpy_generator
from cqlbench.reporting.statistics import LEVEL, Floats, difference_samples, mean_samples

_RISE = 10
"""A rise must be so many times as sure as a drop: few who improve a score want to be stopped by chance."""


@dataclass(frozen=True)
class Limits:
    """What is more than chance.

    Attributes:
        margin: a drop must be larger, in points of the 0-100 scale, and so must a rise.
        level: and the bootstrap probability of a drop higher; where there are several datasets, than
            1 − (1 − level)/(D + 1), for each of the D and for the whole suite (Bonferroni). A rise must be
            ten times as sure.
        throughput: lowest ratio of speeds, on machines of one kind; 0 asks for none, since a machine that
            does other work is slow whatever the code.
        false_alarms: share of gates of an unchanged algorithm whose training may be called changed; 0 judges
            scores alone.
    """

    margin: float = 5.0
    level: float = 0.9
    throughput: float = 0.0
    false_alarms: float = 0.01


@dataclass(frozen=True)
class Drop:
    """How far scores fell, in points; negative: they rose.

    Attributes:
        before: accepted mean.
        low: lower end of the drop's 95 % bootstrap interval.
        probability: bootstrap probability that there is a drop.
    """

    before: float
    after: float
    low: float
    high: float
    probability: float

    @property
    def drop(self) -> float:
        """The drop itself."""
        return self.before - self.after


def drops(
    before: Sequence[Floats],
    after: Sequence[Floats],
    names: Sequence[str],
    samples: int,
    paired: Sequence[bool] | None = None,
) -> list[Drop]:
    """Every dataset's drop, and last the drop of the mean over datasets.

    Accepted and new scores are an array `[S]` per dataset; the datasets' names seed the bootstrap. Of
    `paired` datasets, by default none, the seeds are the same in the same order, and drawn together.
    """
    generator = numpy_generator(0, Purpose.BOOTSTRAP, zlib.crc32(" ".join(names).encode()))
    together = paired or [False] * len(before)
    drawn = np.array(
        [
            mean_samples(x - y, generator, samples)
            if same
            else difference_samples([x], [y], generator, samples)[0]
            for x, y, same in zip(before, after, together, strict=True)
        ]
    )  # [D, samples]
    means = np.array([[x.mean(), y.mean()] for x, y in zip(before, after, strict=True)])  # [D, 2]
    found = []
    for one, (x, y) in zip([*drawn, drawn.mean(0)], [*means, means.mean(0)], strict=True):
        low, high = np.quantile(one, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        # Half of the ties: scores that are all the same are no evidence of a drop.
        sure = (one > 0).mean() + (one == 0).mean() / 2
        found.append(Drop(float(x), float(y), float(low), float(high), float(sure)))
    return found


def regressions(found: Sequence[Drop], limits: Limits) -> list[bool]:
    """Which of the drops of `drops` are both large and sure; of several, each must be surer."""
    chance = (1 - limits.level) / _chances(found)
    return [each.drop > limits.margin and each.probability > 1 - chance for each in found]


def rises(found: Sequence[Drop], limits: Limits) -> list[bool]:
    """Which of them are large rises, and ten times as sure."""
    chance = (1 - limits.level) / _chances(found) / _RISE
    return [-each.drop > limits.margin and each.probability < chance for each in found]


def _chances(found: Sequence[Drop]) -> int:
    return len(found) if len(found) > 2 else 1  # the suite of one dataset is that dataset
