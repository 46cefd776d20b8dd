"""Are there values that no honest recording has? Nothing rewarded, single outliers, actions out of scale."""

import numpy as np
from numpy.typing import NDArray

from cqlbench.data.alignment import FEW, SAMPLE, TRUST
from cqlbench.data.findings import Expected, Finding, found
from cqlbench.data.transitions import Floats, Transitions

_BLOCK = 1 << 12
_RARE = 10


def examine_values(transitions: Transitions, expected: Expected) -> list[Finding]:
    """Every check's finding, in a fixed order; doubts as those of `alignment`."""
    return [_rewarded(transitions), _outliers(transitions), _action_scale(transitions, expected)]


def _rewarded(transitions: Transitions) -> Finding:
    """Is anything rewarded? A doubt if all rewards are 0."""
    if transitions.rewards.any():
        return Finding("rewards")
    message = f"All rewards are 0, so there is nothing to learn: read the right column; {TRUST}"
    return Finding("rewards", "doubt", message, len(transitions))


def _outliers(transitions: Transitions) -> Finding:
    """Are up to ten rows of a column far outside all others? See `far_out`.

    A doubt in states and changes of state, a warning in rewards, which may be rare and huge.
    """
    states, following = transitions.observations, transitions.next_observations
    parts = (
        ("state", far_out(states)),
        ("change of state", far_out(states, following)),
        ("reward", far_out(transitions.rewards[:, None])),
    )
    for name, rows in parts:
        if len(rows):
            advice = "repair or leave out those rows" if name != "reward" else "make sure that they are meant"
            message = f"The {name} of {len(rows)} rows is far from all others: {advice}; {TRUST}"
            return found("outliers", "warning" if name == "reward" else "doubt", rows, message)
    return Finding("outliers")


def far_out(values: Floats, following: Floats | None = None) -> NDArray[np.int64]:
    """Rows of `values`, `[T, D]`, or of what leads from them to `following`, that lie far outside the others.

    These are ten of a column at most, each 20 times as far from its median as the eleventh farthest of 4,096
    rows, and five times as any row that is not among them (embedded and others: none; the nearest is one
    contact of a humanoid's, 8 times as far, and 4.5 times as any other).
    """

    def part(rows: slice) -> Floats:
        return values[rows] if following is None else following[rows] - values[rows]

    usual = part(slice(None, None, -(-len(values) // SAMPLE)))
    if len(usual) < FEW:
        return np.zeros(0, np.int64)
    middle = np.median(usual, axis=0)
    far = np.partition(np.abs(usual - middle), -_RARE - 1, axis=0)[-_RARE - 1]
    unit = np.where(far > 0, far, np.inf)  # what is 0 almost everywhere is rare elsewhere, and no outlier
    rows, columns, distances = [], [], []
    for start in range(0, len(values), _BLOCK):
        away = np.abs(part(slice(start, start + _BLOCK)) - middle) / unit
        row, column = np.nonzero(away > 2)
        rows.append(start + row)
        columns.append(column)
        distances.append(away[row, column])
    row, column, distance = (np.concatenate(parts) for parts in (rows, columns, distances))
    outside: list[NDArray[np.int64]] = []
    for each in np.unique(column):
        inward = np.sort(np.append(distance[column == each], 1.0))[::-1]
        gaps = np.flatnonzero((inward[:-1] >= 20) & (inward[:-1] >= 5 * inward[1:]))
        if len(gaps) and gaps[-1] < _RARE:
            outside.append(row[(column == each) & (distance >= inward[gaps[-1]])])
    return np.unique(np.concatenate(outside)) if outside else np.zeros(0, np.int64)


def _action_scale(transitions: Transitions, expected: Expected) -> Finding:
    """Do actions use the room that they have?

    A warning if none goes farther than 0.6 of the way to a bound (embedded: 0.93 at least; others: 1).
    """
    if transitions.discrete_actions or len(transitions) < FEW:
        return Finding("action scale")
    farthest = reach(transitions.actions, expected)
    if farthest > 0.6:
        return Finding("action scale")
    message = (
        f"No action goes farther than {farthest:.0%} of the way to a bound: if they are scaled, scale them "
        f"to the bounds; {TRUST}"
    )
    return Finding("action scale", "warning", message, len(transitions))


def reach(actions: Floats, expected: Expected) -> float:
    """How far an action comes from the middle of its bounds, which are at 1."""
    low, high = (np.asarray(bound, np.float64) for bound in (expected.action_low, expected.action_high))
    middle, half = (high + low) / 2, (high - low) / 2
    farthest = np.maximum(actions.max(axis=0) - middle, middle - actions.min(axis=0))
    return float((farthest / half).max())
