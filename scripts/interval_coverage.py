"""How often the suite's 95 % intervals cover the truth, in simulation: the numbers in results/README.md.

Each simulated suite has nine datasets. A seed's score is normal around the dataset's centre, or fails with
probability 0.2 and then scores a third as much, as offline agents do on hard datasets.
"""

import sys
from collections.abc import Callable

import numpy as np

from cqlbench.reporting.report import AGGREGATES
from cqlbench.reporting.statistics import Floats, bootstrap_intervals

SUITES = 1_000
SAMPLES = 1_000
CENTRES = np.linspace(10, 90, 9)
SPREAD = 8.0
Draw = Callable[[np.random.Generator, float, int], Floats]


def normal(generator: np.random.Generator, centre: float, seeds: int) -> Floats:
    """Scores `[S]` around a centre."""
    return generator.normal(centre, SPREAD, seeds)


def failing(generator: np.random.Generator, centre: float, seeds: int) -> Floats:
    """The same, of which one in five comes out at a third."""
    return normal(generator, centre, seeds) * np.where(generator.random(seeds) < 0.2, 1 / 3, 1.0)


def coverage(draw: Draw, seeds: int, generator: np.random.Generator) -> dict[str, float]:
    """Share of `SUITES` suites whose interval holds what suites of very many seeds come to."""
    many = [draw(generator, centre, 200_000) for centre in CENTRES]
    truths = [float(statistic(many)) for statistic in AGGREGATES.values()]
    hits = np.zeros(len(truths))
    for _ in range(SUITES):
        scores = [draw(generator, centre, seeds) for centre in CENTRES]
        ends = bootstrap_intervals(scores, list(AGGREGATES.values()), generator, SAMPLES)
        hits += [low <= truth <= high for (low, high), truth in zip(ends, truths, strict=True)]
    return dict(zip(AGGREGATES, hits / SUITES, strict=True))


def main() -> None:
    """Print a Markdown table."""
    out = sys.stdout
    out.write(f"| scores | seeds | {' | '.join(AGGREGATES)} |\n|---|---|{'---|' * len(AGGREGATES)}\n")
    for draw in (normal, failing):
        for seeds in (3, 5, 10):
            found = coverage(draw, seeds, np.random.default_rng(seeds))
            out.write(f"| {draw.__name__} | {seeds} | {' | '.join(f'{x:.1%}' for x in found.values())} |\n")


if __name__ == "__main__":
    main()
