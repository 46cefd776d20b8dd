"""Do the rows say what happened? Checks that need no simulator: shifted rows, and halves that differ.

What they find is a doubt: it fails `cqlbench data check` and is a note elsewhere, and who knows better
consents with `rows=trusted`. Each check states its rule, and how near to it honest data came: the 16 embedded
datasets ("embedded") and 24 recordings of deterministic policies, of controllers in mazes and of random
actions in other simulators ("others"; one has too many columns for dynamics). None of the 40 raised a false
alarm, so at 95 % the rate of all checks together is below 8 % of such datasets, and below 18 % by the
embedded ones alone.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cqlbench.data.findings import Finding
from cqlbench.data.transitions import Transitions

Numbers = NDArray[np.float64]

FEW = 1000
"""Of fewer rows that have a row of their episode on both sides, dynamics cannot be told."""

_MANY = 200
"""Columns of states and actions: of more, fitting takes too long."""

SAMPLE = 4096
_CHUNK = 512
_STRETCHES = 16
_LAGS = (-1, 0, 1)
_WAVES = 64
_RIDGE = 1e-4
_QUANTILES = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)

_ACTION_ROWS, _REWARD_ROWS, _COLUMNS, _SIGN = "action rows", "reward rows", "columns", "reward sign"

TRUST = "if they are right, say rows=trusted."


def examine_alignment(transitions: Transitions) -> list[Finding]:
    """Every check's finding, in a fixed order; none where `sampled` finds too little."""
    sample = sampled(transitions)
    if sample is None:
        return []
    return [_action_rows(sample), _reward_rows(sample), _columns(sample), _reward_sign(sample)]


@dataclass(frozen=True)
class Sample:
    """Up to 4,096 rows in order, each with a row of its episode before and after it.

    Attributes:
        states: `[n, O]`.
        changes: `[n, O]`, of the state in the step.
        before: `[n, O]`, its change in the step before: a velocity, where none is observed.
        actions: of the row before, the row, and the row after: three times `[n, A]`.
        rewards: likewise, three times `[n]`.
        held_out: `[n]` bool, every other one of 16 stretches of the recording.
        second: `[n]` bool, rows of the recording's second half.
    """

    states: Numbers
    changes: Numbers
    before: Numbers
    actions: tuple[Numbers, ...]
    rewards: tuple[Numbers, ...]
    held_out: NDArray[np.bool_]
    second: NDArray[np.bool_]


def sampled(transitions: Transitions) -> Sample | None:
    """The rows that dynamics are fitted to; `None`: too few, or too many columns."""
    inside = np.ones(len(transitions), np.bool_)
    inside[transitions.episode_starts] = inside[transitions.episode_ends] = False
    rows = np.flatnonzero(inside)
    if len(rows) < FEW or transitions.observation_size + transitions.action_size > _MANY:
        return None
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), SAMPLE)).astype(np.int64)]
    states = transitions.observations[rows].astype(np.float64)
    return Sample(
        states,
        transitions.next_observations[rows] - states,
        states - transitions.observations[rows - 1],
        tuple(transitions.actions[rows + lag].astype(np.float64) for lag in _LAGS),
        tuple(transitions.rewards[rows + lag].astype(np.float64) for lag in _LAGS),
        np.arange(len(rows)) * _STRETCHES // len(rows) % 2 == 1,
        2 * rows >= len(transitions),
    )


def _action_rows(sample: Sample) -> Finding:
    """Which row's action explains the change of state best, beside the state, in rows held out?

    A doubt where another row's leaves less than 0.85 of the variance that its own leaves (embedded: 1.33 at
    least; others: 1.27).
    """
    moved, ratio = best_lag(action_misses(sample))
    if ratio >= 0.85:
        return Finding(_ACTION_ROWS)
    return Finding(_ACTION_ROWS, "doubt", _shifted("actions", "changes of state", moved, ratio))


def _reward_rows(sample: Sample) -> Finding:
    """Which row's reward do state, action and next state explain best, in rows held out?

    A doubt where another row's is left with less than half of the variance that its own is left with
    (embedded: 0.98 at least; others: 0.9): rewards of a state alone fit the row before or after as well.
    """
    moved, ratio = best_lag(reward_misses(sample))
    if ratio >= 0.5:
        return Finding(_REWARD_ROWS)
    return Finding(_REWARD_ROWS, "doubt", _shifted("rewards", "states and actions", moved, ratio))


def _shifted(what: str, others: str, moved: int, ratio: float) -> str:
    where = "after" if moved > 0 else "before"
    return (
        f"The {others} fit the {what} of the row {where} better (which leave unexplained {ratio:.0%} of what "
        f"their own row's leave): move the {what} by one row; {TRUST}"
    )


def action_misses(sample: Sample) -> list[float]:
    """Shares of the change of state that state and the actions of rows t−1, t and t+1 leave unexplained."""
    states, before = standardised(sample.states), standardised(sample.before)
    inputs = (_Inputs((states, before, standardised(actions)), curved=1) for actions in sample.actions)
    return [_unexplained(each, sample.changes, sample.held_out) for each in inputs]


def reward_misses(sample: Sample) -> list[float]:
    """Shares of the rewards of rows t−1, t and t+1 that the transition of row t leaves unexplained."""
    inputs = _of_transitions(sample)
    return [_unexplained(inputs, rewards[:, None], sample.held_out) for rewards in sample.rewards]


def best_lag(misses: list[float]) -> tuple[int, float]:
    """The lag, −1 or 1, that misses less, and its miss in units of lag 0's."""
    before, here, after = misses
    moved = -1 if before < after else 1
    if here < 1e-6:  # there is nothing left to explain, or rounding
        return moved, np.inf
    return moved, min(before, after) / here


def _columns(sample: Sample) -> Finding:
    """Are states' and actions' columns in the same order in both halves of the recording?

    Columns are told by their quantiles, those of their changes, and how actions move them. A doubt where an
    exchange brings the columns concerned below half of their distance, and nearer by 0.25 (embedded: no
    exchange gains anything; others: 0.85 of the distance at least, and nearer by 0.03 at most).
    """
    for name, distances in zip(("state", "action"), column_distances(sample), strict=True):
        moved, ratio, gain = exchange(distances)
        if len(moved) and ratio < 0.5 and gain > 0.25:
            shown = ", ".join(map(str, moved[:12])) + (", …" if len(moved) > 12 else "")
            message = (
                f"In the recording's second half the {name} columns {shown} look like one another's in the "
                f"first: bring them into one order; {TRUST}"
            )
            return Finding(_COLUMNS, "doubt", message, len(moved))
    return Finding(_COLUMNS)


def column_distances(sample: Sample) -> tuple[Numbers, Numbers]:
    """`[O, O]` and `[A, A]`: from each column of the first half to each of the second, about 0 to 3."""
    halves = ~sample.second, sample.second
    if min(np.count_nonzero(half) for half in halves) < FEW // 4:
        return np.zeros((1, 1)), np.zeros((1, 1))
    states, changes, actions = (
        [values[half] for half in halves] for values in (sample.states, sample.changes, sample.actions[1])
    )
    responses = [_response(*each) for each in zip(states, changes, actions, strict=True)]
    rows = min(int(np.count_nonzero(half)) for half in halves)
    moved = _apart(responses[0], responses[1], rows)
    moving = _apart(responses[0].T, responses[1].T, rows)
    return _unlike(*states) + _unlike(*changes) + moved, _unlike(*actions) + 2 * moving


def exchange(distances: Numbers) -> tuple[list[int], float, float]:
    """The columns that the best exchange moves, their mean distance in units of that before it, and the gain.

    The exchange is made of swaps that each bring the sum down as far as a swap can.
    """
    columns = np.arange(len(distances))
    order = columns.copy()
    while True:
        now = distances[columns, order]
        gains = now[:, None] + now - distances[:, order] - distances[:, order].T
        one, other = np.unravel_index(gains.argmax(), gains.shape)
        if gains[one, other] <= 1e-9:
            break
        order[[one, other]] = order[[other, one]]
    moved = np.flatnonzero(order != columns)
    if not len(moved):
        return [], 1.0, 0.0
    before, after = distances[moved, moved].mean(), distances[moved, order[moved]].mean()
    return moved.tolist(), float(after / before), float(before - after)


def _unlike(first: Numbers, second: Numbers) -> Numbers:
    """`[I, J]`, 0 to 1: how far quantiles are apart, in units of both their spreads."""
    ours, others = (np.quantile(values, _QUANTILES, axis=0) for values in (first, second))
    widths = (ours[-1] - ours[0])[:, None] + (others[-1] - others[0])
    apart = np.abs(ours[:, :, None] - others[:, None, :]).mean(axis=0)
    still = np.where(apart > 0, 1.0, 0.0)
    distances: Numbers = np.divide(apart, widths, out=still, where=widths > 0)
    return np.minimum(distances, 1.0)


def _response(states: Numbers, changes: Numbers, actions: Numbers) -> Numbers:
    """`[A, O]`: how each action moves each state's change, both standardised."""
    inputs = np.hstack([np.ones((len(states), 1)), standardised(states), standardised(actions)])
    return _solved(inputs.T @ inputs, inputs.T @ standardised(changes), len(inputs))[-actions.shape[1] :]


def _apart(first: Numbers, second: Numbers, rows: int) -> Numbers:
    """`[I, J]`, 0 to 1: between columns of two halves, in units of their lengths, or of chance in `rows`."""
    lengths = np.linalg.norm(first, axis=0)[:, None] + np.linalg.norm(second, axis=0)
    distances: Numbers = np.linalg.norm(first[:, :, None] - second[:, None, :], axis=0)
    shares: Numbers = distances / np.maximum(lengths, 8.0 * np.sqrt(len(first) / rows))
    return shares


def _reward_sign(sample: Sample) -> Finding:
    """Do the transitions of one half of the recording predict rewards of the other with their sign?

    A doubt where both correlations are below −0.5 (embedded: 0.96 at least; others: 0, where all are alike).
    """
    if max(sign_correlations(sample)) >= -0.5:
        return Finding(_SIGN)
    message = (
        "Rewards of the recording's second half have the opposite sign of the first half's, for the same "
        f"transitions: negate those of the wrong half; {TRUST}"
    )
    return Finding(_SIGN, "doubt", message)


def sign_correlations(sample: Sample) -> list[float]:
    """Of rewards with what is predicted from the other half; 0 where one of them is constant."""
    inputs, rewards = _of_transitions(sample), sample.rewards[1]
    correlations = []
    for half in (sample.second, ~sample.second):
        if np.ptp(rewards[half]) == 0 or np.count_nonzero(half) < FEW // 4:
            return [0.0]
        centred = rewards - rewards[half].mean()
        weights = inputs.weights(centred, np.flatnonzero(half))
        # What is extrapolated beyond all that was seen counts for no more than that.
        predicted = inputs.predictions(weights, np.flatnonzero(~half))
        predicted = predicted.clip(centred[half].min(), centred[half].max())
        spread = predicted.std() * rewards[~half].std()
        together = ((predicted - predicted.mean()) * rewards[~half]).mean()
        correlations.append(float(together / spread) if spread > 0 else 0.0)
    return correlations


def standardised(values: Numbers) -> Numbers:
    """Columns of mean 0 and variance 1; constant ones are 0."""
    spread = values.std(axis=0)
    spread[spread <= 1e-9 * np.abs(values).max(axis=0, initial=0.0)] = np.inf
    scaled: Numbers = (values - values.mean(axis=0)) / spread
    return scaled


@dataclass(frozen=True)
class _Inputs:
    """What something is predicted from by ridge regression: columns, and random cosines of some of them.

    Attributes:
        parts: `[n, …]` each, standardised.
        curved: how many of the first parts are fitted in curves: cosines of them.
        squared: whether the squares of all columns are inputs as well.
    """

    parts: tuple[Numbers, ...]
    curved: int
    squared: bool = False

    def at(self, rows: NDArray[np.int64]) -> Numbers:
        """`[rows, D]`."""
        parts = [part[rows] for part in self.parts]
        bent = np.hstack(parts[: self.curved])
        generator = np.random.default_rng(0)
        directions = generator.normal(0.0, 1.5 / np.sqrt(bent.shape[1]), (bent.shape[1], _WAVES))
        waves = np.sqrt(2.0) * np.cos(bent @ directions + generator.uniform(0.0, 2 * np.pi, _WAVES))
        squares = [part**2 for part in parts] if self.squared else []
        return np.hstack([np.ones((len(rows), 1)), waves, *parts, *squares])

    def weights(self, targets: Numbers, rows: NDArray[np.int64]) -> Numbers:
        """`[D, …]`, fitted to `targets`, `[n, …]`, at `rows`."""
        chunks = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
        gram, products = np.zeros(()), np.zeros(())
        for chunk in chunks:  # all inputs at once would take more room than a small dataset
            inputs = self.at(chunk)
            gram, products = gram + inputs.T @ inputs, products + inputs.T @ targets[chunk]
        return _solved(gram, products, len(rows))

    def predictions(self, weights: Numbers, rows: NDArray[np.int64]) -> Numbers:
        """`[rows, …]`."""
        chunks = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
        return np.concatenate([self.at(chunk) @ weights for chunk in chunks])


def _of_transitions(sample: Sample) -> _Inputs:
    """What rewards are predicted from: the state, its change and the action, and their squares."""
    parts = sample.states, sample.changes, sample.actions[1]
    states, changes, actions = map(standardised, parts)
    return _Inputs((states, changes, actions), curved=2, squared=True)


def _solved(gram: Numbers, products: Numbers, rows: int) -> Numbers:
    """A ridge regression's weights."""
    return np.linalg.solve(gram + _RIDGE * rows * np.eye(len(gram)), products).astype(np.float64, copy=False)


def _unexplained(inputs: _Inputs, targets: Numbers, held_out: NDArray[np.bool_]) -> float:
    """The share of held-out variance that a ridge regression leaves, the mean of targets that vary."""
    targets = standardised(targets)
    targets = targets[:, targets.any(axis=0)]
    if not targets.size:
        return 1.0
    asked = np.flatnonzero(held_out)
    weights = inputs.weights(targets, np.flatnonzero(~held_out))
    errors = targets[asked] - inputs.predictions(weights, asked)
    variance: Numbers = np.maximum(targets[asked].var(axis=0), 1e-9)
    return float(np.minimum((errors**2).mean(axis=0) / variance, 1.0).mean())
