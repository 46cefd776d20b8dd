from collections import OrderedDict

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Tuple

from cqlbench.core.errors import DatasetError
from cqlbench.data.readers.flatten import Part, order, parts_of

BOX = Box(-9, 9, (2,), np.float64)
SPACE = Dict(OrderedDict(b=BOX, a=Tuple([Discrete(3, start=5), BOX])))


def test_order_is_the_space_s_own_unless_keys_are_given():
    assert order(parts_of(SPACE, None, "x")) == "b [2], a/0 [3], a/1 [2]"
    assert order(parts_of(SPACE, ("a/1", "b"), "x")) == "a/1 [2], b [2]"


def test_parts_that_are_named_stay_as_evaluation_sees_them():
    assert order(parts_of(SPACE, ("a",), "x")) == "a/0 [1], a/1 [2]"
    image = Dict({"image": Box(0, 255, (7, 7, 3), np.uint8)})
    assert order(parts_of(image, ("image",), "x")) == "image [147]"
    with pytest.raises(DatasetError, match="holds images"):
        parts_of(image, None, "x")


def test_categories_become_one_hot():
    part = Part((), 5, (5, 0), (3, 2))
    np.testing.assert_array_equal(
        part.encode(np.array([[5, 1], [7, 0]]), "x"), [[1, 0, 0, 0, 1], [0, 0, 1, 1, 0]]
    )


@pytest.mark.parametrize("value", [4, 8, 5.5])
def test_no_such_category(value):
    with pytest.raises(DatasetError, match="at row 1, but must be one of 5 to 7"):
        Part((), 3, (5,), (3,)).encode(np.array([5, value]), "x")


def test_other_width():
    with pytest.raises(DatasetError, match="has 3 numbers in each row, but its space says 2"):
        Part((), 2).encode(np.zeros((4, 3)), "x")


@pytest.mark.parametrize(("key", "there"), [("c", "b, a"), ("a/2", "0, 1"), ("b/x", "no parts")])
def test_no_such_part(key, there):
    with pytest.raises(DatasetError, match=rf"has no part '{key}' \(there: {there}\)"):
        parts_of(SPACE, (key,), "x")
