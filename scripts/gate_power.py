"""How often the gate finds that a score has changed, in simulation: the numbers in results/README.md.

Scores of seeds are normal, with the spread that was measured on the smoke suite and with twice that, and as
many seeds on each side as the gate has by default; `drop` is how far the first dataset's truth has fallen.
"""

import sys
from collections.abc import Sequence

import numpy as np

from cqlbench.reporting.gate.scores import Limits, drops, regressions, rises

SEEDS = 10
GATES = 1_000
SAMPLES = 1_000
SPREADS = (10.5, 4.9)
"""Standard deviation of scores between seeds of each of the smoke suite's datasets, in points."""
ALIKE = 0.8
"""Correlation of the same seed's scores on both sides, where code computes the same and rounds otherwise."""


def called(
    spreads: Sequence[float],
    drop: float,
    correlation: float,
    generator: np.random.Generator,
    gates: int = GATES,
) -> float:
    """Share of gates that find a regression or a rise.

    Args:
        spreads: standard deviation over seeds, per dataset.
        drop: of the first dataset's true score.
        correlation: of the two sides' scores of a seed; 0 for other seeds, which are not compared in pairs.
        generator: where the scores come from.
        gates: how many are simulated.
    """
    limits, found, paired = Limits(), 0, [correlation > 0] * len(spreads)
    covariance = np.array([[1, correlation], [correlation, 1]])
    for _ in range(gates):
        both = [
            50 + spread * generator.multivariate_normal(np.zeros(2), covariance, SEEDS).T
            for spread in spreads
        ]
        before, after = [each[0] for each in both], [each[1] for each in both]
        after[0] = after[0] - drop
        # The names seed the bootstrap: as in use, it is the same for every gate of a suite.
        names = [str(spread) for spread in spreads]
        fell = drops(before, after, names, SAMPLES, paired)
        found += any([*regressions(fell, limits), *rises(fell, limits)])
    return found / gates


def main() -> None:
    """Print a Markdown table."""
    cases = {"the spread": SPREADS, "twice that": [2 * spread for spread in SPREADS]}
    sys.stdout.write(
        "| spread | seeds | no drop | 5 points | 10 points | 20 points |\n|---|---|---|---|---|---|\n"
    )
    for name, spreads in cases.items():
        for seeds, correlation in (("the same", ALIKE), ("others", 0.0)):
            shares = [called(spreads, drop, correlation, np.random.default_rng(0)) for drop in (0, 5, 10, 20)]
            sys.stdout.write(f"| {name} | {seeds} | {' | '.join(f'{share:.1%}' for share in shares)} |\n")


if __name__ == "__main__":
    main()
