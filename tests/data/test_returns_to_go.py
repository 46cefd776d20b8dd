"""Returns-to-go against a plain loop over the rows."""

import numpy as np
import pytest

from cqlbench.data.returns_to_go import returns_to_go


def by_loop(rewards, ends, discount, failing=None):
    values, following = [0.0] * len(rewards), 0.0
    for t in reversed(range(len(rewards))):
        following = float(rewards[t]) + (0.0 if ends[t] else discount * following)
        values[t] = following
    start = 0
    for t in range(len(rewards)):
        if ends[t]:
            if failing is not None and rewards[t] <= failing:
                values[start : t + 1] = [failing / (1 - discount)] * (t + 1 - start)
            start = t + 1
    return values


def episodes(*lengths):
    ends = np.zeros(sum(lengths), bool)
    ends[np.cumsum(lengths) - 1] = True
    return ends


@pytest.mark.parametrize("discount", [0.0, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("lengths", [(1,), (1, 1, 1), (7,), (1, 2, 3, 1, 8, 1), (1000, 1, 64, 63, 65, 500)])
def test_they_are_the_loops(discount, lengths):
    ends = episodes(*lengths)
    rewards = np.random.default_rng(0).normal(1, 2, len(ends)).astype(np.float32)
    found = returns_to_go(rewards, ends, discount)
    assert found.dtype == np.float32
    assert found.tolist() == pytest.approx(by_loop(rewards, ends, discount), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("discount", [0.0, 0.9, 0.99])
def test_episodes_that_end_on_the_failing_reward_fail_for_ever(discount):
    ends = episodes(3, 1, 1, 4, 2)
    # Fails, and below the failing reward at that; fails at once; succeeds at once; succeeds; succeeds midway
    # and ends on a failure.
    rewards = np.float32([-5, -5, -6, -5, 5, -5, -5, -5, 5, 5, -5])
    found = returns_to_go(rewards, ends, discount, failing=-5.0)
    assert found.tolist() == pytest.approx(by_loop(rewards, ends, discount, -5.0), rel=1e-6)
    failed = np.float32(-5 / (1 - discount))
    assert found[[0, 1, 2, 3, 9, 10]].tolist() == [failed] * 6
    assert found[4] == 5


def test_by_hand():
    ends = episodes(3, 2)
    found = returns_to_go(np.float32([1, 2, 4, 8, 16]), ends, 0.5)
    assert found.tolist() == [1 + 1 + 1, 2 + 2, 4, 8 + 8, 16]


def test_float64_keeps_what_float32_would_lose():
    ends = episodes(100_000)
    rewards = np.full(100_000, 0.1, np.float32)
    found = returns_to_go(rewards, ends, 1.0)
    assert found[0] == np.float32(100_000 * float(rewards[0]))
