import numpy as np
import pytest

from cqlbench.core.errors import DatasetError
from cqlbench.evaluation.scores import normalized_score

# D4RL's endpoints of Hopper (d4rl/infos.py, REF_MIN_SCORE and REF_MAX_SCORE).
HOPPER = (-20.272305, 3234.3)


def test_endpoints_are_0_and_100():
    assert normalized_score(HOPPER[0], *HOPPER) == 0.0
    assert normalized_score(HOPPER[1], *HOPPER) == 100.0


def test_hand_computed_values():
    np.testing.assert_allclose(
        normalized_score([[10.0, 20.0], [5.0, 40.0]], 10.0, 30.0), [[0, 50], [-25, 150]]
    )
    # (1500 + 20.272305) / 3254.572305
    assert normalized_score(1500.0, *HOPPER) == pytest.approx(46.711892148298731, abs=1e-12)


def test_score_of_the_mean_is_the_mean_of_the_scores():
    returns = np.random.default_rng(0).uniform(-100, 4000, 50)
    assert normalized_score(returns, *HOPPER).mean() == pytest.approx(
        normalized_score(returns.mean(), *HOPPER)
    )


def test_a_failed_seed_stays_nan():
    scores = normalized_score(np.array([[np.nan, np.nan], [0.0, 1.0]], np.float32), 0.0, 1.0)
    assert np.isnan(scores[0]).all()
    np.testing.assert_array_equal(scores[1], [0.0, 100.0])
    assert scores.dtype == np.float64


@pytest.mark.parametrize("endpoints", [(1.0, 1.0), (2.0, 1.0), (np.nan, 1.0), (0.0, np.inf)])
def test_endpoints_that_cannot_normalise_are_refused(endpoints):
    with pytest.raises(DatasetError, match="cannot normalise"):
        normalized_score(1.0, *endpoints)
