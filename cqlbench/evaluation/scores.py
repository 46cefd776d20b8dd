"""Returns and a card's endpoints -> normalised scores."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cqlbench.core.errors import DatasetError


def normalized_score(returns: ArrayLike, score_min: float, score_max: float) -> NDArray[np.float64]:
    """D4RL's normalised score: `100 · (return − random) / (expert − random)`.

    0 is the mean return of uniformly random actions, 100 that of a domain-specific expert; scores below 0 and
    above 100 are possible and are not clipped. The map is affine, so the mean score of several episodes is
    the score of their mean return.

    Source: Fu et al. 2020 (arXiv:2004.07219); the same formula as `get_normalized_score` in the authors'
    `d4rl/offline_env.py`, times 100.

    Args:
        returns: undiscounted episode returns, any shape; NaN stays NaN.
        score_min: the random policy's mean return, a fact of the environment and version.
        score_max: the expert's mean return.

    Returns:
        Scores in the shape of `returns`.

    Raises:
        DatasetError: the endpoints are not finite or not in ascending order.
    """
    if not (np.isfinite(score_min) and np.isfinite(score_max) and score_min < score_max):
        raise DatasetError(
            f"Score endpoints {score_min} and {score_max} cannot normalise a return: the card's score_min "
            "must be less than its score_max."
        )
    return np.asarray(100.0 * (np.asarray(returns, np.float64) - score_min) / (score_max - score_min))
