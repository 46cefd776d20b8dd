from argparse import ArgumentTypeError

import pytest

from cqlbench.commands.values import names, number, numbers, truth, whole


def test_texts_become_values() -> None:
    assert (truth("true"), truth("false")) == (True, False)
    assert (whole(1)("7"), whole(0)("0")) == (7, 0)
    assert (number()("-2.5"), number(0.5, 1)("0.5")) == (-2.5, 0.5)
    assert [numbers(text) for text in ("-1", "-1,-2", "[-1, -2]")] == [(-1,), (-1, -2), (-1, -2)]
    assert names("a,b") == ("a", "b")


@pytest.mark.parametrize(
    ("read", "text"),
    [(truth, "maybe"), (numbers, "[1,x]")]
    + [(whole(1), text) for text in ("0", "-1", "1.5", "x", "²")]
    + [(number(), text) for text in ("x", "nan", "inf", "-inf", "")]
    + [(number(0.5, 1), text) for text in ("0.4", "1")],
)
def test_other_texts_are_refused(read, text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="must be"):
        read(text)
