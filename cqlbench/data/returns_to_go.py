"""Discounted returns-to-go of a dataset's rows: the values of the policy that collected them, for Cal-QL."""

import numpy as np
from numpy.typing import NDArray


def returns_to_go(
    rewards: NDArray[np.floating],
    episode_ends: NDArray[np.bool_],
    discount: float,
    *,
    failing: float | None = None,
) -> NDArray[np.float32]:
    """G_t = r_t + γ·r_{t+1} + … up to the end of the episode, `[T]`, summed in float64.

    Nothing is bootstrapped, as in the authors' code (nakamotoo/Cal-QL@ac6eafe, JaxCQL/replay_buffer.py,
    `calc_return_to_go`) and CORL's (corl-team/CORL@eeeeef2, algorithms/finetune/cal_ql.py,
    `get_return_to_go`): at a time limit and where the recording stops the sum stops too. So it is too low
    where later rewards would be positive, and too high where they would be negative.

    With sparse rewards, an episode whose last reward is the failing one, or lower, is taken to fail for ever:
    all of its rows get r/(1 − γ). CORL compares the last reward with the transformed `ref_min_score` of the
    task; here callers take the lowest reward of the dataset, which needs no task's name (antmaze: 0 before
    the transform). The authors' code asks that all of the episode's rewards are the failing one.

    Args:
        rewards: `[T]`, as training sees them: after the reward transform.
        episode_ends: `[T]`, the last row of each episode, whatever ended it; the last row of all is one.
        discount: γ, below 1 with `failing`.
        failing: where rewards say success or failure (CORL `is_sparse_reward`), the reward that says failure.
    """
    rows = len(rewards)
    ends = np.flatnonzero(episode_ends)
    lengths = np.diff(ends, prepend=-1)
    following = np.repeat(ends, lengths) - np.arange(rows)  # rows of the episode after this one
    values = rewards.astype(np.float64)
    # After the round of `step`, each value is the sum of its first 2·step rewards.
    step = 1
    while step <= lengths.max() - 1:
        ahead = np.where(following[:-step] >= step, values[step:], 0.0)
        values[:-step] += discount**step * ahead
        step *= 2
    if failing is not None:
        failed = np.repeat(rewards[ends] <= failing, lengths)
        values[failed] = failing / (1 - discount)
    return values.astype(np.float32)
