"""Does the simulator do what the rows say? For environments whose states can be set from observations."""

import numpy as np
from numpy.typing import NDArray

from cqlbench.core.errors import UserError
from cqlbench.data.alignment import TRUST
from cqlbench.data.cards import Card
from cqlbench.data.findings import Finding, Severity, found
from cqlbench.data.transitions import Transitions
from cqlbench.environments.replay import Replayed, replay

Numbers = NDArray[np.float64]

_ROWS = 200
_ENDS = 50
_SHIFTED = 0.005
"""What rows miss by at least, if those of another row are to be taken for theirs."""

_STATES, _REWARDS, _FLAGS = "replayed states", "replayed rewards", "replayed ends"


def examine_replay(transitions: Transitions, card: Card) -> list[Finding]:
    """Findings on next states, rewards and ends of some hundred rows that are played again, at most three.

    Where the simulator does something else, that is a doubt; a warning in published data, which other
    versions of the simulator recorded. There is none without an environment, or for fewer than 50 rows inside
    episodes.
    """
    rows = _inner(transitions)
    if card.environment is None or len(rows) < _ENDS:
        return []
    try:
        played = {lag: _play(transitions, card, rows, rows + lag) for lag in (-1, 0, 1)}
        ends = np.flatnonzero(transitions.terminated)
        ends = ends[np.linspace(0, len(ends) - 1, min(len(ends), _ENDS)).astype(np.int64)]
        ended = _play(transitions, card, ends, ends)
    except UserError as error:
        return [Finding(_STATES, "ok", f"Not replayed: {error}")]
    misses = {lag: state_miss(transitions, rows, each) for lag, each in played.items() if each is not None}
    here = played[0]
    if here is None or ended is None:
        return [Finding(_STATES, "ok", "Not replayed: observations do not hold the simulator's state.")]
    differs: Severity = "warning" if card.source in ("d4rl", "minari") else "doubt"
    findings = [_states(misses, differs)]
    if findings[0].severity == "ok":  # else the simulator's rewards are others, too
        rewards = {lag: reward_miss(transitions, rows + lag, here) for lag in (-1, 0, 1)}
        findings.append(_rewards(rewards))
    return [*findings, _ends(ends[~ended.terminated], len(ends), differs)]


def state_miss(transitions: Transitions, rows: NDArray[np.int64], played: Replayed) -> float:
    """How far next states are from the simulator's, in units of what a step moves: nine tenths are nearer."""
    before, after = (
        part[rows, : played.seen].astype(np.float64)
        for part in (transitions.observations, transitions.next_observations)
    )
    scale = before.std(axis=0)
    scale[scale == 0] = np.inf
    miss, step = (
        np.quantile(np.sqrt((((after - other) / scale) ** 2).mean(axis=1)), 0.9)
        for other in (played.observations[:, : played.seen], before)
    )
    return float(miss / max(step, 1e-6))


def reward_miss(transitions: Transitions, rows: NDArray[np.int64], played: Replayed) -> float:
    """How far rewards are from the simulator's, in standard deviations: nine tenths are nearer."""
    rewards = transitions.rewards[rows].astype(np.float64)
    far = float(np.quantile(np.abs(rewards - played.rewards), 0.9))
    return far / max(float(played.rewards.std()), 1e-3)


def _inner(transitions: Transitions) -> NDArray[np.int64]:
    """Up to 200 rows with a row of their episode on both sides, without numbers that may be clipped."""
    inside = np.ones(len(transitions), np.bool_)
    inside[transitions.episode_starts] = inside[transitions.episode_ends] = False
    rows = np.flatnonzero(inside)
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), 20 * _ROWS)).astype(np.int64)]
    states = transitions.observations[rows]
    clipped = np.zeros(states.shape, np.bool_)
    for extreme in (states.min(axis=0, initial=np.inf), states.max(axis=0, initial=-np.inf)):
        at = states == extreme
        clipped |= at & (at.sum(axis=0) >= 5) & (at.mean(axis=0) < 0.5)  # a constant is none
    rows = rows[~clipped.any(axis=1)]
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), _ROWS)).astype(np.int64)]


def _play(
    transitions: Transitions, card: Card, rows: NDArray[np.int64], acting: NDArray[np.int64]
) -> Replayed | None:
    assert card.environment is not None
    states, actions = transitions.observations[rows], transitions.actions[acting]
    return replay(card.environment, states, actions)


def _states(misses: dict[int, float], differs: Severity) -> Finding:
    """A doubt where another row's actions miss by 0.3 times as much; a miss above 0.1 in any case.

    Of 16 embedded datasets each misses by less than 0.0001, and by at most 0.013 once rounded to float16;
    with the actions of the row before or after by 0.23 to 1.7. Of 20 others, in mazes and other simulators,
    one misses by more than 0.02 when rounded (0.06).
    """
    here, lag = misses[0], min(misses, key=misses.__getitem__)
    shifted = here > _SHIFTED and misses[lag] < 0.3 * here
    if here <= 0.1 and not shifted:
        return Finding(_STATES)
    missed = (
        f"The simulator leads elsewhere than to the next observations, by {here:.2g} of what a step moves"
    )
    if shifted:
        message = (
            f"{missed}, and by {misses[lag]:.2g} with the actions of the row {_where(lag)}: move the actions "
            f"by one row; {TRUST}"
        )
        return Finding(_STATES, "doubt", message)
    message = (
        f"{missed}: are actions scaled, columns in another order, or is the environment another? {TRUST}"
    )
    return Finding(_STATES, differs, message)


def _rewards(misses: dict[int, float]) -> Finding:
    """A doubt where another row's miss by 0.3 times as much; a warning above 0.1 in any case.

    Embedded data miss by less than 0.0001 (float16: 0.002), and those of the row before or after by 0.11 to
    1.8.
    """
    here, lag = misses[0], min(misses, key=misses.__getitem__)
    shifted = here > _SHIFTED and misses[lag] < 0.3 * here
    if here <= 0.1 and not shifted:
        return Finding(_REWARDS)
    missed = f"The simulator's rewards are others, by {here:.2g} standard deviations"
    if shifted:
        fit = f"those of the row {_where(lag)} by {misses[lag]:.2g}"
        message = f"{missed}, and {fit}: move the rewards by one row; {TRUST}"
        return Finding(_REWARDS, "doubt", message)
    return Finding(_REWARDS, "warning", f"{missed}: is the environment another, or are they scaled? {TRUST}")


def _ends(others: NDArray[np.int64], ends: int, differs: Severity) -> Finding:
    """Of five rows or more that are flagged as terminated, more than half do not end in the simulator."""
    if ends < 5 or 2 * len(others) <= ends:
        return Finding(_FLAGS)
    message = (
        f"Of {ends} rows that are flagged as terminated, {len(others)} do not end in the simulator: are "
        f"flags a row too late or early, or time limits? {TRUST}"
    )
    return found(_FLAGS, differs, others, message)


def _where(lag: int) -> str:
    return "after" if lag > 0 else "before"
