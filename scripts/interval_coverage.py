"""How often 95 % intervals of suites and tuning budgets cover the truth: the numbers in results/README.md.

Each simulated suite has nine datasets. A seed's score is normal around the dataset's centre, or fails with
probability 0.2 and then scores a third as much, as offline agents do on hard datasets. A simulated sweep is
of one dataset: configurations are normal around 50 with a spread of 15, or two in five of them score 10.
"""

import sys
from collections.abc import Callable

import numpy as np

from cqlbench.reporting.report import AGGREGATES
from cqlbench.reporting.statistics import Floats, bootstrap_intervals
from cqlbench.reporting.tuning import tried_curve

SUITES = 1_000
SAMPLES = 1_000
CENTRES = np.linspace(10, 90, 9)
SPREAD = 8.0
TRIED = (1, 2, 4)
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


def broken(generator: np.random.Generator, centre: float, configurations: int) -> Floats:
    """Scores `[n]` of configurations, of which two in five do not work."""
    works = generator.random(configurations) < 0.6
    return np.where(works, generator.normal(centre, 15, configurations), 10.0)


def alike(generator: np.random.Generator, centre: float, configurations: int) -> Floats:
    """Scores `[n]` of configurations around a centre."""
    return generator.normal(centre, 15, configurations)


def sweep_coverage(draw: Draw, count: int, seeds: int, generator: np.random.Generator) -> list[float]:
    """Share of `SUITES` sweeps of `count` configurations whose interval holds the expected best of k."""

    def sweep() -> Floats:
        return draw(generator, 50, count)[:, None] + generator.normal(0, SPREAD, (count, seeds))

    many = np.array([sweep().mean(1) for _ in range(100_000 // count)]).ravel()
    truths = [many[: len(many) // k * k].reshape(-1, k).max(1).mean() for k in TRIED]
    hits = np.zeros(len(TRIED))
    for _ in range(SUITES):
        curve = tried_curve([list(sweep())], generator, SAMPLES)
        places = np.array(TRIED) - 1
        hits += (curve.low[places] <= truths) & (truths <= curve.high[places])
    return list(hits / SUITES)


def main() -> None:
    """Print two Markdown tables."""
    out = sys.stdout
    out.write(f"| scores | seeds | {' | '.join(AGGREGATES)} |\n|---|---|{'---|' * len(AGGREGATES)}\n")
    for draw in (normal, failing):
        for seeds in (3, 5, 10):
            found = coverage(draw, seeds, np.random.default_rng(seeds))
            out.write(f"| {draw.__name__} | {seeds} | {' | '.join(f'{x:.1%}' for x in found.values())} |\n")
    heads = " | ".join(f"k = {k}" for k in TRIED)
    out.write(f"\n| configurations | how many | seeds | {heads} |\n|---|---|---|{'---|' * len(TRIED)}\n")
    for kind in (alike, broken):
        for count, seeds in ((8, 3), (8, 10), (20, 3), (20, 10)):
            shares = sweep_coverage(kind, count, seeds, np.random.default_rng(seeds))
            texts = " | ".join(f"{share:.1%}" for share in shares)
            out.write(f"| {kind.__name__} | {count} | {seeds} | {texts} |\n")


if __name__ == "__main__":
    main()
