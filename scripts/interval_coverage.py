"""How often 95 % intervals of datasets, suites and tuning budgets cover the truth: for results/README.md.

Each simulated suite has nine datasets. A seed's score is normal around the dataset's centre; or skewed, as
where a few seeds are far better than the others; or fails with probability 0.2 and then scores a third as
much, as offline agents do on hard datasets. A simulated sweep is of one dataset: configurations are normal
around 50 with a spread of 15, or two in five of them score 10.
"""

import sys
from collections.abc import Callable

import numpy as np

from cqlbench.reporting.aggregate import spread
from cqlbench.reporting.report import AGGREGATES
from cqlbench.reporting.statistics import Floats, bootstrap_intervals
from cqlbench.reporting.tuning import tried_curve

SUITES = 1_000
SAMPLES = 1_000
SEEDS = (3, 4, 5, 10)
CENTRES = np.linspace(10, 90, 9)
SPREAD = 8.0
TRIED = (1, 2, 4)
Draw = Callable[[np.random.Generator, float, int], Floats]


def normal(generator: np.random.Generator, centre: float, seeds: int) -> Floats:
    """Scores `[S]` around a centre."""
    return generator.normal(centre, SPREAD, seeds)


def skewed(generator: np.random.Generator, centre: float, seeds: int) -> Floats:
    """Log-normal ones of the same spread, with a skewness of 4."""
    sigma = 0.8326  # √ln 2: the deviation of exp(N(0, σ²)) is then √2, its mean √2
    scores: Floats = centre + SPREAD * (generator.lognormal(0.0, sigma, seeds) / np.sqrt(2) - 1)
    return scores


def failing(generator: np.random.Generator, centre: float, seeds: int) -> Floats:
    """Normal ones of which one in five comes out at a third."""
    return normal(generator, centre, seeds) * np.where(generator.random(seeds) < 0.2, 1 / 3, 1.0)


def coverage(
    draw: Draw, seeds: int, generator: np.random.Generator, suites: int = SUITES
) -> dict[str, float]:
    """Share of suites whose interval holds what suites of very many seeds come to, and of single datasets."""
    many = [draw(generator, centre, 200_000) for centre in CENTRES]
    truths = [float(statistic(many)) for statistic in AGGREGATES.values()]
    hits, single = np.zeros(len(truths)), 0.0
    for _ in range(suites):
        scores = [draw(generator, centre, seeds) for centre in CENTRES]
        ends = bootstrap_intervals(scores, list(AGGREGATES.values()), generator, SAMPLES)
        hits += [low <= truth <= high for (low, high), truth in zip(ends, truths, strict=True)]
        found = [spread(each) for each in scores]
        single += np.mean([s.low <= all_.mean() <= s.high for s, all_ in zip(found, many, strict=True)])
    return dict(zip(["one dataset", *AGGREGATES], [single / suites, *hits / suites], strict=True))


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
    out, names = sys.stdout, ["one dataset", *AGGREGATES]
    out.write(f"| scores | seeds | {' | '.join(names)} |\n|---|---|{'---|' * len(names)}\n")
    for draw in (normal, skewed, failing):
        for seeds in SEEDS:
            found = coverage(draw, seeds, np.random.default_rng(seeds))
            out.write(f"| {draw.__name__} | {seeds} | {' | '.join(f'{x:.1%}' for x in found.values())} |\n")
            out.flush()
    heads = " | ".join(f"k = {k}" for k in TRIED)
    out.write(f"\n| configurations | how many | seeds | {heads} |\n|---|---|---|{'---|' * len(TRIED)}\n")
    for kind in (alike, broken):
        for count, seeds in ((8, 3), (8, 10), (20, 3), (20, 10)):
            shares = sweep_coverage(kind, count, seeds, np.random.default_rng(seeds))
            texts = " | ".join(f"{share:.1%}" for share in shares)
            out.write(f"| {kind.__name__} | {count} | {seeds} | {texts} |\n")


if __name__ == "__main__":
    main()
