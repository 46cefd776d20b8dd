import json

import numpy as np
import pytest

from cqlbench.data.discrete import DiscreteSpace
from cqlbench.errors import DatasetError


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ({"type": "Discrete", "dtype": "int64", "start": 2, "n": 3}, DiscreteSpace(3, 2)),
        ({"type": "Discrete", "n": 3}, DiscreteSpace(3)),
        ({"type": "Box", "low": [0]}, None),
        ({"type": "Discrete"}, None),
        ({"type": "Discrete", "n": 0}, None),
        ([], None),
    ],
)
def test_the_space_in_the_metadata(space, expected):
    assert DiscreteSpace.of({"action_space": json.dumps(space)}) == expected


@pytest.mark.parametrize("metadata", [{}, {"action_space": "{"}, {"action_space": None}])
def test_metadata_without_a_space(metadata):
    assert DiscreteSpace.of(metadata) is None


def test_one_hot_rows():
    rows = DiscreteSpace(3, start=4).one_hot(np.array([4, 6, 5, 4], np.float32), "x")
    np.testing.assert_array_equal(rows, [[1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]])
    assert rows.dtype == np.float32


@pytest.mark.parametrize("number", [3, 7, 4.5])
def test_a_number_that_is_no_action(number):
    with pytest.raises(DatasetError, match=f"x is {number} at row 1, .* 4 to 6;"):
        DiscreteSpace(3, start=4).one_hot(np.array([4, number], np.float32), "x")
