"""Are episodes' ends flagged in the right rows? Resets a row before or after them give them away."""

import numpy as np
from numpy.typing import NDArray

from cqlbench.data.alignment import SAMPLE, TRUST
from cqlbench.data.findings import Finding, found
from cqlbench.data.transitions import Floats, Transitions


def examine_end_rows(transitions: Transitions) -> Finding:
    """Do episodes end a row after or before the state is reset?

    A doubt where a cut without a flag is followed by an episode of one flagged row (or a flag by one of one
    unflagged row) in five episodes and 3 % of all (honest data: in none), or where `end_signature` says so.
    """
    starts, ends = transitions.episode_starts, transitions.episode_ends
    flagged = (transitions.terminated | transitions.truncated)[ends]
    lone = np.flatnonzero(transitions.episode_lengths[1:] == 1) + 1
    late = lone[flagged[lone] & ~flagged[lone - 1]]
    early = lone[~flagged[lone] & flagged[lone - 1]]
    least = max(5, 0.03 * len(starts))
    signs = [("late", len(late) >= least, starts[late]), ("early", len(early) >= least, starts[early])]
    if not any(sign for _, sign, _ in signs):
        looks = late_and_early(transitions)
        signs = [("late", looks[0], ends), ("early", looks[1], starts)]
    for when, sign, rows in signs:
        if sign:
            message = (
                f"Ends are flagged one row too {when}: the state is reset beside the flagged rows; move "
                f"'terminals' and 'timeouts' by one row; {TRUST}"
            )
            return found("end rows", "doubt", rows, message)
    return Finding("end rows")


def late_and_early(transitions: Transitions) -> tuple[bool, bool]:
    """Whether the last rows of episodes lead to a reset, and whether the first ones do.

    Late: 60 % of `end_signature`'s late jumps (embedded: 9 % at most; others: 25 %), or a spread below 0.3
    (embedded: 0.84 at least; others: 0.62). Early: 85 % (embedded: 22 % at most; others: 71 %), or a spread
    below 0.3 (embedded and others: 1 at least).
    """
    signature = end_signature(transitions)
    if signature is None:
        return False, False
    late_jumps, early_jumps, late_spread, early_spread = signature
    return late_jumps > 0.6 or late_spread < 0.3, early_jumps > 0.85 or early_spread < 0.3


def end_signature(transitions: Transitions) -> tuple[float, float, float, float] | None:
    """What episodes' last and first rows look like; `None` with fewer than five episodes of six rows.

    Returns:
        the share of episodes whose last two steps hold one twice as long as five steps in their middle; whose
        first step is, as their second one is not; how far the states after or of the last rows spread beside
        those of the rows before, if they are where episodes start, else 1; and those of second rows, beside
        those of first ones. Long steps are resets, and resets lead to states that are alike.
    """
    lengths = transitions.episode_lengths
    long = np.flatnonzero(lengths >= 6)
    if len(long) < 5:
        return None
    long = long[np.linspace(0, len(long) - 1, min(len(long), 1000)).astype(np.int64)]
    first, last = transitions.episode_starts[long], transitions.episode_ends[long]
    states, following = transitions.observations, transitions.next_observations
    usual = states[:: -(-len(states) // SAMPLE)]
    scale = usual.std(axis=0)
    scale[scale == 0] = np.inf

    def steps(rows: NDArray[np.int64]) -> Floats:
        squares: Floats = np.square((following[rows] - states[rows]) / scale).mean(axis=1)
        return np.sqrt(squares)

    def spread(values: Floats) -> Floats:
        far = np.median(np.abs(values - np.median(values, axis=0)), axis=0)
        spreads: Floats = np.divide(far, wide, out=np.ones_like(far), where=wide > 0)
        return spreads

    wide = np.ones_like(scale)
    wide = spread(usual)
    middle = np.max([steps(first + lengths[long] * tenth // 10) for tenth in (3, 4, 5, 6, 7)], axis=0)
    late = np.maximum(steps(last), steps(last - 1)) > 2 * middle
    early = steps(first) > 2 * np.maximum(middle, steps(first + 1))
    before, second = float(np.median(spread(states[last - 1]))), float(np.median(spread(states[first + 1])))
    opening, late_spread = float(np.median(spread(states[first]))), 1.0
    for ending in (states[last], following[last]) if before > 0.2 else ():
        away = np.abs(np.median(ending, axis=0) - np.median(states[first], axis=0)) / scale
        if np.median(away) < 0.5:
            late_spread = min(late_spread, float(np.median(spread(ending))) / before)
    return float(late.mean()), float(early.mean()), late_spread, second / opening if opening > 0.2 else 1.0
