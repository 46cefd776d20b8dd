import numpy as np
import pytest

from cqlbench.environments.d4rl.correction import Correction

OBSERVATIONS = np.array([[3.0, 4.0, 0.0, 1.0], [0.0, 0.3, 0.0, -0.1]])
REWARDS = np.array([1.0, 2.0])


def test_a_distance_costs_what_it_brought():
    of_difference = Correction(hand=(0, 1))
    np.testing.assert_allclose(of_difference.rewards(OBSERVATIONS, REWARDS), [1 - 0.2 * 5, 2 - 0.2 * 0.3])
    of_two = Correction(hand=(0, 1), object=(2, 3))
    np.testing.assert_allclose(of_two.rewards(OBSERVATIONS, REWARDS), [1 - 0.2 * 18**0.5, 2 - 0.2 * 0.4])
    assert not of_two.ends(OBSERVATIONS).any()


@pytest.mark.parametrize(("lowest", "ends"), [(0.3, [False, False]), (0.31, [False, True])])
def test_an_end_below_a_height(lowest, ends):
    drop = Correction(height=1, lowest=lowest)
    np.testing.assert_array_equal(drop.rewards(OBSERVATIONS, REWARDS), REWARDS)
    np.testing.assert_array_equal(drop.ends(OBSERVATIONS), ends)
