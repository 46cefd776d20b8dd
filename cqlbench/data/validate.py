"""The checks that every dataset passes before training."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from cqlbench.core.errors import DatasetError
from cqlbench.data.alignment import examine_alignment
from cqlbench.data.end_rows import examine_end_rows
from cqlbench.data.ends import examine_ends
from cqlbench.data.findings import Expected, Finding, Severity, found
from cqlbench.data.odd_values import examine_values
from cqlbench.data.readers.arrays import first_not_finite
from cqlbench.data.transitions import Floats, Transitions

_ROUNDING = 1e-5

# Rows that were dropped may carry more than their share of the reward, but not ten times as much: then the
# file's conversion lost what the task is about (all of it, if only a time limit's row is rewarded).
_MOST_REWARD_LOST = 10.0

_MEAN_RETURN = 0.01
"""How far the mean return may lie from the card's, relative."""


def examine(transitions: Transitions, expected: Expected | None = None) -> list[Finding]:
    """Every check's finding, in a fixed order; where one makes others meaningless, those are left out."""
    expected = expected or Expected()
    findings = [_finite(transitions), _actions(transitions, expected), _starts(transitions)]
    if findings[-1].severity == "error":
        return findings
    findings.append(_end_flags(transitions))
    if findings[0].severity == "error":
        return [*findings, _continuity(transitions)]
    findings += [*examine_ends(transitions, expected), _continuity(transitions)]
    if not expected.trusted_rows and all(finding.severity != "error" for finding in findings):
        findings += [examine_end_rows(transitions), *examine_alignment(transitions)]
        findings += examine_values(transitions, expected)
    return [
        *findings,
        _reward_mass(transitions),
        _duplicates(transitions),
        _constant(transitions),
        *_card(transitions, expected),
    ]


def check(transitions: Transitions, expected: Expected | None = None) -> tuple[str, ...]:
    """Refuse a dataset that would train something else than it says.

    Returns:
        The warnings and doubts, one sentence each.

    Raises:
        DatasetError: the first finding that is an error.
    """
    findings = examine(transitions, expected)
    for finding in findings:
        if finding.severity == "error":
            raise DatasetError(finding.message)
    return tuple(finding.message for finding in findings if finding.severity != "ok")


def clip_actions(transitions: Transitions, expected: Expected) -> int:
    """Move actions into their bounds, in place; the card or the user has agreed to that.

    Returns:
        How many rows were changed.

    Raises:
        DatasetError: more than the `expected.clippable` share of the rows would change.
    """
    if transitions.discrete_actions:
        return 0
    finding = _actions(transitions, expected)
    if finding.count > expected.clippable * len(transitions):
        raise DatasetError(finding.message)
    low, high = _bounds(transitions.actions, expected)
    outside = int(_outside(transitions.actions, low, high, 0.0).sum())
    if outside:
        np.clip(transitions.actions, low, high, out=transitions.actions)
    return outside


def jumps(observations: Floats, next_observations: Floats) -> NDArray[np.int64]:
    """Rows, ascending, whose next observation is not the following row's observation, up to rounding.

    Both are `[T, O]`.
    """
    after = observations[1:]
    differs = (next_observations[:-1] != after).any(axis=1)
    rows = np.flatnonzero(differs)
    if not len(rows):
        return rows
    close = np.isclose(next_observations[rows], after[rows], rtol=_ROUNDING, atol=_ROUNDING)
    return rows[~close.all(axis=1)]


def _finite(transitions: Transitions) -> Finding:
    for name in ("observations", "actions", "rewards", "next_observations"):
        row = first_not_finite(getattr(transitions, name))
        if row is not None:
            message = f"'{name}' holds NaN or infinity, first at row {row}; repair or leave out that row."
            return found("finite values", "error", [row], message)
    return Finding("finite values")


def _bounds(actions: Floats, expected: Expected) -> tuple[Floats, Floats]:
    low, high = (np.asarray(bound, np.float32) for bound in (expected.action_low, expected.action_high))
    for bound in (low, high):
        if bound.ndim and bound.shape != actions.shape[1:]:
            raise DatasetError(
                f"An action has {actions.shape[1]} numbers, but {bound.size} bounds were stated; give one, "
                "or one for each number."
            )
    return np.broadcast_to(low, actions.shape[1:]), np.broadcast_to(high, actions.shape[1:])


def _outside(actions: Floats, low: Floats, high: Floats, rounding: float) -> NDArray[np.bool_]:
    slack = rounding * (high.astype(np.float64) - low)
    outside = (actions < low - slack) | (actions > high + slack)
    return np.asarray(outside.any(axis=1))


def _actions(transitions: Transitions, expected: Expected) -> Finding:
    actions = transitions.actions
    if transitions.discrete_actions:
        return _one_hot(actions)
    low, high = _bounds(actions, expected)
    rows = np.flatnonzero(_outside(actions, low, high, _ROUNDING))
    if not len(rows):
        return Finding("action bounds")
    share = len(rows) / len(actions)
    advice = "scale the file's actions to the bounds, or agree to clipping with clip_actions=true."
    if share > expected.clippable:
        advice = (
            f"that is {share:.0%} of them, from {actions.min():g} to {actions.max():g}, too many "
            "to be clipped: scale the file's actions to the bounds, or import it with its true bounds, "
            "`cqlbench data import FILE id=my/data-v0 action_low=… action_high=…`."
        )
    return found(
        "action bounds",
        "error",
        rows,
        f"The action of row {rows[0]} is {actions[rows[0]].tolist()}, outside the bounds "
        f"{np.asarray(expected.action_low).tolist()} to {np.asarray(expected.action_high).tolist()} "
        f"({len(rows)} rows in all); {advice}",
    )


def _one_hot(actions: Floats) -> Finding:
    rows = np.flatnonzero((actions.max(1) != 1) | (np.abs(actions).sum(1) != 1))
    if not len(rows):
        return Finding("one-hot actions")
    message = (
        f"The action of row {rows[0]} is {actions[rows[0]].tolist()}, but a discrete action is a row of "
        f"zeros with one 1 ({len(rows)} rows in all)."
    )
    return found("one-hot actions", "error", rows, message)


def _starts(transitions: Transitions) -> Finding:
    starts = transitions.episode_starts
    if len(starts) == 0 or starts[0] != 0 or (np.diff(starts) <= 0).any() or starts[-1] >= len(transitions):
        message = "'episode_starts' must begin with 0, ascend, and stay below the number of rows."
        return Finding("episode starts", "error", message)
    return Finding("episode starts")


def _end_flags(transitions: Transitions) -> Finding:
    rows = np.flatnonzero(transitions.terminated | transitions.truncated)
    fault = "an end is flagged although the episode goes on; split the episode there or clear the flag."
    return _within_episodes("end flags", transitions, rows, fault)


def _continuity(transitions: Transitions) -> Finding:
    rows = jumps(transitions.observations, transitions.next_observations)
    fault = (
        "the next observation is not the observation of the following row although the episode goes on; put "
        "the rows in order or flag the episode's end."
    )
    return _within_episodes("next observations", transitions, rows, fault)


def _within_episodes(check: str, transitions: Transitions, rows: NDArray[np.int64], fault: str) -> Finding:
    rows = np.setdiff1d(rows, transitions.episode_ends)
    if not len(rows):
        return Finding(check)
    return found(check, "error", rows, f"At row {rows[0]} (and {len(rows) - 1} more) {fault}")


def _reward_mass(transitions: Transitions) -> Finding:
    if not transitions.reward_mass:  # unknown, or nothing to lose
        return Finding("reward mass")
    kept = float(np.abs(transitions.rewards, dtype=np.float64).sum())
    lost = 1.0 - kept / transitions.reward_mass
    share = transitions.dropped_rows / (len(transitions) + transitions.dropped_rows)
    if -_ROUNDING <= lost <= max(_ROUNDING, _MOST_REWARD_LOST * share):
        return Finding("reward mass")
    message = (
        f"The conversion changed the sum of |reward| from {transitions.reward_mass:g} to {kept:g}, while "
        f"{share:.2%} of the rows were dropped; the file needs 'next_observations' to keep those rewards."
    )
    return Finding("reward mass", "error", message, transitions.dropped_rows)


def _duplicates(transitions: Transitions) -> Finding:
    """Episodes whose observations, actions and rewards repeat an earlier one's, bit by bit."""
    starts, lengths = transitions.episode_starts, transitions.episode_lengths
    keys = np.stack([lengths.astype(np.float64), transitions.episode_returns], axis=1)
    _, groups, sizes = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    seen: set[tuple[bytes, ...]] = set()
    rows = []
    for episode in np.flatnonzero(sizes[groups] > 1):  # only these can be equal
        span = slice(starts[episode], starts[episode] + lengths[episode])
        parts = (transitions.observations, transitions.actions, transitions.rewards)
        content = tuple(_digest(part[span]) for part in parts)
        if content in seen:
            rows.append(int(starts[episode]))
        seen.add(content)
    if not rows:
        return Finding("duplicated episodes")
    message = f"{len(rows)} episodes, first at row {rows[0]}, repeat an earlier one bit by bit."
    return found("duplicated episodes", "warning", rows, message)


def _digest(part: Floats) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(part).data, digest_size=16).digest()


def _constant(transitions: Transitions) -> Finding:
    constant = []
    for name in ("observations", "actions"):
        values: Floats = getattr(transitions, name)
        still = np.flatnonzero(values.min(axis=0) == values.max(axis=0))
        if len(still):
            constant.append(f"{name} {', '.join(map(str, still[:12]))}{', …' if len(still) > 12 else ''}")
    if len(transitions) == 1 or not constant:
        return Finding("constant dimensions")
    return Finding("constant dimensions", "warning", f"Dimensions never change: {'; '.join(constant)}.")


def _card(transitions: Transitions, expected: Expected) -> list[Finding]:
    rows = len(transitions) + transitions.dropped_rows
    episodes = len(transitions.episode_starts) - len(transitions.continuations)
    mean_return = float(transitions.episode_returns[transitions.whole_episodes].mean())
    facts: list[tuple[str, float, float | None, float, Severity]] = [
        ("transitions", rows, expected.transitions, 0.0, "error"),
        ("episodes", episodes, expected.episodes, 0.0, "warning"),
        ("mean return", mean_return, expected.mean_return, _MEAN_RETURN, "warning"),
    ]
    findings = []
    for what, held, wanted, tolerance, severity in facts:
        if wanted is None:
            continue
        if abs(held - wanted) <= tolerance * max(abs(wanted), 1e-9):
            findings.append(Finding(f"card's {what}"))
        else:
            message = f"Its {what}: {held:.10g}, where its card says {wanted:.10g}."
            findings.append(Finding(f"card's {what}", severity, message))
    return findings
