"""How often the gate calls a regression, in simulation: the numbers in results/README.md.

Scores of seeds are normal, with the spread that was measured on the smoke suite and with twice that, and as
many seeds on each side as the gate has by default; `drop` is how far the first dataset's truth has fallen.
"""

import sys
from collections.abc import Sequence

import numpy as np

from cqlbench.reporting.gate.scores import Limits, drops, regressions

SEEDS = 10
GATES = 1_000
SAMPLES = 1_000
SPREADS = (7.2, 3.2)
"""Standard deviation of scores between seeds of each of the smoke suite's datasets, in points."""


def called(
    spreads: Sequence[float], drop: float, generator: np.random.Generator, gates: int = GATES
) -> float:
    """Share of gates that find a regression.

    Args:
        spreads: standard deviation over seeds, per dataset.
        drop: of the first dataset's true score.
        generator: where the scores come from.
        gates: how many are simulated.
    """
    limits, found = Limits(), 0
    for _ in range(gates):
        before = [generator.normal(50, spread, SEEDS) for spread in spreads]
        after = [generator.normal(50, spread, SEEDS) for spread in spreads]
        after[0] = after[0] - drop
        # The names seed the bootstrap: as in use, it is the same for every gate of a suite.
        names = [str(spread) for spread in spreads]
        found += any(regressions(drops(before, after, names, SAMPLES), limits))
    return found / gates


def main() -> None:
    """Print a Markdown table."""
    cases = {"smoke suite": SPREADS, "twice its spread": [2 * spread for spread in SPREADS]}
    sys.stdout.write("| suite | no drop | 5 points | 10 points | 20 points |\n|---|---|---|---|---|\n")
    for name, spreads in cases.items():
        shares = [called(spreads, drop, np.random.default_rng(0)) for drop in (0, 5, 10, 20)]
        sys.stdout.write(f"| {name} | {' | '.join(f'{share:.1%}' for share in shares)} |\n")


if __name__ == "__main__":
    main()
