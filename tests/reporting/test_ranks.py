"""Mean ranks, Friedman's test and Nemenyi's critical difference: Demšar's example, his table, and scipy."""

import numpy as np
import pytest
from scipy import stats

from cqlbench.reporting.ranks import Ranks, friedman, range_quantile, ranked

# Demšar 2006, table 6: areas under the curve of C4.5, with -m, with -cf, and with both, on 14 datasets. He
# ranks before he rounds: two that he prints as 0.975 are no tie.
DEMSAR = np.array([
    [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
    [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
    [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
    [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
    [0.972, 0.981, 0.97501, 0.975], [0.957, 0.978, 0.946, 0.970],
])  # fmt: skip


def test_demsars_example() -> None:
    found = ranked(dict(zip(("c45", "m", "cf", "both"), DEMSAR.T, strict=True)))
    assert found is not None
    assert found.names == ("both", "m", "cf", "c45")
    assert found.ranks == pytest.approx((1.964, 2.000, 2.893, 3.143), abs=5e-4)
    # q of table 5 is 2.569 for four: 2.569 · √(4 · 5 / (6 · 14)) = 1.25.
    assert found.critical == pytest.approx(1.25, abs=5e-3)
    assert found.cliques == (("both", "m", "cf", "c45"),)
    assert found.p == pytest.approx(stats.friedmanchisquare(*DEMSAR.T).pvalue)


@pytest.mark.parametrize(
    ("count", "quantile"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (7, 2.949), (10, 3.164)]
)
def test_the_studentised_range_is_that_of_demsars_table(count: int, quantile: float) -> None:
    assert range_quantile(count, 0.95) / 2**0.5 == pytest.approx(quantile, abs=1.1e-3)


def test_ranks_by_hand() -> None:
    found = ranked({"a": [10.0, 5.0, 7.0], "b": [30.0, 5.0, 7.0], "c": [20.0, 1.0, 7.0]})
    assert found is not None
    assert dict(zip(found.names, found.ranks, strict=True)) == {"a": 6.5 / 3, "b": 1.5, "c": 7 / 3}
    assert friedman(np.full((4, 3), 2.0)) == 1.0
    assert ranked({"a": [1.0, 2.0], "b": [2.0, 3.0], "c": [0.0, 0.0]}) is None  # two datasets
    assert ranked({"a": [1.0] * 9, "b": [2.0] * 9}) is None
    assert ranked({}) is None


def test_cliques_by_hand() -> None:
    names, ranks = ("a", "b", "c", "d", "e"), (1.0, 1.8, 2.5, 4.0, 5.7)
    found = Ranks(names, ranks, 20, p=0.001, critical=1.55)
    # a, b and c are within 1.5 of one another; c and d within 1.5; e is 1.7 from d: alone.
    assert found.cliques == (("a", "b", "c"), ("c", "d"))
    assert Ranks(names, ranks, 20, p=0.2, critical=1.55).cliques == (names,)
    assert Ranks(names, ranks, 20, p=0.001, critical=0.5).cliques == ()


def test_the_same_order_everywhere_tells_the_ends_apart() -> None:
    scores = {name: [10.0 * place + dataset for dataset in range(9)] for place, name in enumerate("edcba")}
    found = ranked(scores)
    assert found is not None
    assert found.ranks == (1, 2, 3, 4, 5)
    # 2.728 · √(5 · 6 / (6 · 9)) = 2.03.
    assert found.cliques == (("a", "b", "c"), ("b", "c", "d"), ("c", "d", "e"))
