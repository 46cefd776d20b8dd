"""Differences between columns: by hand, against scipy, and as often wrong as they say."""

import numpy as np
import pytest
from reporting.samples import build_report, sample_records
from scipy import stats

from cqlbench.reporting.comparison import compare_columns, difference_of, holm


def test_one_dataset_is_welchs_test() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(50, 5, 4), generator.normal(45, 2, 6)
    found, expected = difference_of([x], [y]), stats.ttest_ind(x, y, equal_var=False)
    ends = expected.confidence_interval(0.95)
    assert (found.value, found.p) == (pytest.approx(x.mean() - y.mean()), pytest.approx(expected.pvalue))
    assert (found.low, found.high) == (pytest.approx(ends.low), pytest.approx(ends.high))


def test_several_datasets_by_hand() -> None:
    x, y = [np.array([1.0, 2.0, 3.0]), np.array([5.0, 5.0, 5.0])], [np.zeros(3), np.array([1.0, 2.0, 3.0])]
    found = difference_of(x, y)
    # Means 2 and 5 against 0 and 2; two of four variances are 1, so 1/3 each: 4 degrees of freedom.
    assert found.value == 2.5
    assert found.high - found.value == pytest.approx(stats.t.ppf(0.975, 4) * np.sqrt(2 / 3) / 2)
    assert found.p == pytest.approx(2 * stats.t.sf(2.5 / (np.sqrt(2 / 3) / 2), 4))


def test_what_does_not_scatter_is_equal_or_is_not() -> None:
    same, other = np.full(3, 4.0), np.full(3, 5.0)
    assert (difference_of([same], [same]).p, difference_of([same], [other]).p) == (1.0, 0.0)
    assert np.isnan(difference_of([same[:2]], [other]).p)


def test_holms_correction_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_its_interval_covers_the_truth() -> None:
    generator, covered = np.random.default_rng(3), 0
    for _ in range(300):
        x, y = generator.normal(50, 8, (2, 9, 3))
        found = difference_of(list(x), list(y))
        covered += found.low <= 0 <= found.high
    assert 0.92 <= covered / 300 <= 0.98  # results/README.md: 96 % of 1,000


def test_pairs_of_a_report_are_told_in_a_sentence() -> None:
    records = sample_records(["x/a-v0", "x/b-v0"], ("cql", "bc", "td3_bc"), evaluations=2, episodes=2)
    records = [each for each in records if not (each.algorithm == "td3_bc" and each.seed > 1)]  # two seeds
    (pair,) = compare_columns(build_report(records, samples=50), ["cql", "bc"], samples=500)
    assert (pair.first, pair.second, pair.datasets) == ("cql", "bc", ("x/a-v0", "x/b-v0"))
    assert pair.whole.sure
    assert pair.probability == 1.0
    assert pair.sentence.startswith("cql is better than bc, by ")
    assert "surely ahead on 2 of them, surely behind on 0." in pair.sentence
    (same,) = compare_columns(build_report(records, samples=50), ["bc", "cql"], samples=500)
    assert same.sentence == pair.sentence
    assert same.whole.value == -pair.whole.value
