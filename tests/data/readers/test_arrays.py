import numpy as np
import pytest

from cqlbench.data.readers import arrays


@pytest.mark.parametrize("rows", [1, 70_000])
def test_first_row_that_is_not_finite(rows):
    values = np.zeros((rows, 2), np.float32)
    assert arrays.first_not_finite(values) is None
    values[rows - 1, 1] = np.inf
    assert arrays.first_not_finite(values) == rows - 1


def test_rows_are_kept_in_place_and_in_order():
    kept = np.random.default_rng(0).random(200_000) < 0.7
    values = np.arange(400_000, dtype=np.float32).reshape(-1, 2)
    expected = values[kept]
    result = arrays.keep_rows(values, kept)
    np.testing.assert_array_equal(result, expected)
    assert np.shares_memory(result, values)
