import numpy as np
import pytest

from cqlbench.core.errors import DatasetError
from cqlbench.data.readers.flatten import Part, order, parts_of

BOX = {"type": "Box", "shape": [2], "dtype": "float64"}
SPACE = {
    "type": "Dict",
    "subspaces": {
        "b": BOX,
        "a": {"type": "Tuple", "subspaces": [{"type": "Discrete", "n": 3, "start": 5}, BOX]},
    },
}


def test_order_is_the_space_s_own_unless_keys_are_given():
    assert order(parts_of(SPACE)) == "b [2], a/0 [3], a/1 [2]"
    assert order(parts_of(SPACE, ("a/1", "b"))) == "a/1 [2], b [2]"


def test_parts_that_are_named_stay_as_evaluation_sees_them():
    assert order(parts_of(SPACE, ("a",))) == "a/0 [1], a/1 [2]"
    image = {"type": "Dict", "subspaces": {"image": {"type": "Box", "shape": [7, 7, 3], "dtype": "uint8"}}}
    assert order(parts_of(image, ("image",))) == "image [147]"
    with pytest.raises(DatasetError, match="holds images at 'image'"):
        parts_of(image)


def test_categories_become_one_hot():
    part = Part((), 5, (5, 0), (3, 2))
    np.testing.assert_array_equal(part.encode(np.array([[5, 1], [7, 0]])), [[1, 0, 0, 0, 1], [0, 0, 1, 1, 0]])


@pytest.mark.parametrize("value", [4, 8, 5.5])
def test_no_such_category(value):
    with pytest.raises(DatasetError, match="at row 1, but must be one of 5 to 7"):
        Part((), 3, (5,), (3,)).encode(np.array([5, value]))


def test_other_width():
    with pytest.raises(DatasetError, match="has 3 numbers in each row, but its space says 2"):
        Part((), 2).encode(np.zeros((4, 3)))


@pytest.mark.parametrize(("key", "there"), [("c", "b, a"), ("a/2", "0, 1"), ("b/x", "no parts")])
def test_no_such_part(key, there):
    with pytest.raises(DatasetError, match=rf"has no part '{key}' \(there: {there}\)"):
        parts_of(SPACE, (key,))


@pytest.mark.parametrize("space", [{}, {"type": "Dict"}, {"type": "Discrete", "n": "x"}, []])
def test_a_space_that_makes_no_sense(space):
    with pytest.raises(DatasetError, match="makes no sense"):
        parts_of(space)
