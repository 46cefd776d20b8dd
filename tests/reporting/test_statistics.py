import time

import numpy as np
import pytest
from scipy import stats

from cqlbench.reporting import statistics
from cqlbench.reporting.statistics import bootstrap_intervals, iqm, mean, median, optimality_gap


def suite(*datasets: list[float]) -> list[np.ndarray]:
    return [np.array(scores, float) for scores in datasets]


SUITE = suite([0, 20, 40], [50, 60, 70], [90, 110, 130])
RAGGED = suite([10, 30], [40, 50, 60, 70], [100])


def test_aggregates_by_hand() -> None:
    assert mean(SUITE) == pytest.approx((20 + 60 + 110) / 3)
    assert median(SUITE) == 60
    # Nine runs, so two go at each end: (40 + 50 + 60 + 70 + 90) / 5.
    assert iqm(SUITE) == pytest.approx(62)
    # 110 and 130 count as 100: means 20, 60 and 290 / 3.
    assert optimality_gap(SUITE) == pytest.approx(100 - (20 + 60 + 290 / 3) / 3)
    assert optimality_gap(SUITE, target=50) == pytest.approx(50 - (20 + 50 + 50) / 3)


def test_datasets_may_differ_in_seeds() -> None:
    assert mean(RAGGED) == pytest.approx((20 + 55 + 100) / 3)
    assert median(RAGGED) == 55
    assert iqm(RAGGED) == pytest.approx((30 + 40 + 50 + 60 + 70) / 5)
    assert optimality_gap(RAGGED) == pytest.approx(100 - 175 / 3)


@pytest.mark.parametrize("seeds", [1, 2, 3, 5, 10])
def test_iqm_is_scipys_trimmed_mean(seeds: int) -> None:
    scores = [np.random.default_rng(d).normal(size=seeds) for d in range(7)]
    assert iqm(scores) == pytest.approx(stats.trim_mean(np.concatenate(scores), 0.25))


def test_a_single_run_is_its_own_statistic() -> None:
    for statistic in (mean, median, iqm):
        assert statistic(suite([42])) == 42


@pytest.mark.parametrize("statistic", [mean, median, iqm, optimality_gap])
def test_leading_dimensions_are_carried_through(statistic: statistics.Statistic) -> None:
    scores = [np.random.default_rng(d).normal(size=(4, 5, 3 + d)) for d in range(3)]
    together = statistic(scores)
    assert together.shape == (4, 5)
    assert together[2, 3] == pytest.approx(statistic([each[2, 3] for each in scores]))


def test_performance_profile_by_hand() -> None:
    # More than, not at least; each dataset counts a third.
    profile = statistics.performance_profile(RAGGED, [-1, 10, 50, 100])
    np.testing.assert_allclose(profile, [1, (1 / 2 + 1 + 1) / 3, (0 + 2 / 4 + 1) / 3, 0])


def test_probability_of_improvement_by_hand() -> None:
    x, y = suite([1, 2, 3], [5, 5]), suite([2, 0], [5, 6, 4])
    # First dataset: of 6 pairs 4 won (1>0, 2>0, 3>2, 3>0), 1 tied. Second: 2 won, 2 tied of 6.
    assert statistics.probability_of_improvement(x, y) == pytest.approx((4.5 / 6 + 3 / 6) / 2)
    assert statistics.probability_of_improvement(y, x) == pytest.approx(1 - (4.5 / 6 + 3 / 6) / 2)


def test_two_seeds_resampled_by_hand() -> None:
    # Means of two draws from {5 ± 5√2}: 5 (1/2), or each of the two (1/4). Within a dataset: 100 meets none.
    generator, scores, root = np.random.default_rng(0), suite([0, 10], [100]), 2**0.5
    assert bootstrap_intervals(scores, [mean], generator, 4_000, level=0.4) == [(52.5, 52.5)]
    (ends,) = bootstrap_intervals(scores, [mean], generator, 4_000, level=0.6)
    assert ends == pytest.approx((52.5 - 2.5 * root, 52.5 + 2.5 * root))


def test_stretched_scores_have_the_sample_variance_as_their_own() -> None:
    scores = np.array([1.0, 2.0, 6.0])
    wide = statistics.stretched(scores)
    assert (wide.mean(), wide.var()) == (pytest.approx(3.0), pytest.approx(scores.var(ddof=1)))
    assert statistics.stretched(np.array([4.0])).tolist() == [4.0]


def test_interval_is_the_generators_alone() -> None:
    scores = [np.random.default_rng(d).normal(size=10) for d in range(3)]
    first = bootstrap_intervals(scores, [iqm], np.random.default_rng(1), 500)
    assert bootstrap_intervals(scores, [iqm], np.random.default_rng(1), 500) == first
    assert bootstrap_intervals(scores, [iqm], np.random.default_rng(2), 500) != first


def test_blocks_make_all_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_AT_ONCE", 90)
    seen = []

    def counted(scores: statistics.Scores) -> statistics.Floats:
        seen.append(scores[0].shape[0])
        return mean(scores)

    bootstrap_intervals(SUITE, [counted], np.random.default_rng(0), 25)
    assert seen == [10, 10, 5]


def test_profile_and_improvement_intervals_match_plain_resampling_stretched() -> None:
    generator = np.random.default_rng(3)
    x = [generator.normal(50, 20, 5) for _ in range(3)]
    y = [generator.normal(40, 20, 4) for _ in range(3)]
    thresholds = [20.0, 50.0, 80.0]

    def again(scores: list[np.ndarray]) -> list[np.ndarray]:
        return [generator.choice(each, len(each)) for each in scores]

    resampled = [(again(x), again(y)) for _ in range(3_000)]
    profiles = np.array([statistics.performance_profile(each, thresholds) for each, _ in resampled])
    profile, a, b = statistics.performance_profile(x, thresholds), (5 / 4) ** 0.5, (4 / 3) ** 0.5
    low, high = statistics.performance_profile_interval(x, thresholds, generator, 20_000)
    wide = np.clip(np.quantile(profile + a * (profiles - profile), [0.025, 0.975], axis=0), 0, 1)
    np.testing.assert_allclose([low, high], wide, atol=0.07)

    def won(other: list[np.ndarray], another: list[np.ndarray]) -> float:
        # Distances from the mean: of x's draw, of y's, and of both together, which is bilinear in the two.
        better = statistics.probability_of_improvement
        whole, row, column = better(x, y), better(other, y), better(x, another)
        both = better(other, another) - row - column + whole
        return whole + a * (row - whole) + b * (column - whole) + a * b * both

    wins = [won(*each) for each in resampled]
    np.testing.assert_allclose(
        statistics.probability_of_improvement_interval(x, y, generator, 20_000),
        np.quantile(wins, [0.025, 0.975]),
        atol=0.02,
    )


@pytest.mark.parametrize("statistic", [mean, iqm])
def test_coverage_in_simulation(statistic: statistics.Statistic) -> None:
    """300 suites of 9 datasets and 10 seeds; `scripts/interval_coverage.py` takes more kinds of them."""
    generator = np.random.default_rng(11)
    centres = np.linspace(10, 90, 9)
    # The statistic of a suite of many seeds is what an interval should cover.
    truth = statistic([generator.normal(centre, 8, 100_000) for centre in centres])
    covered = 0
    for _ in range(300):
        scores = [generator.normal(centre, 8, 10) for centre in centres]
        ((low, high),) = bootstrap_intervals(scores, [statistic], generator, 400)
        covered += low <= truth <= high
    assert 0.92 <= covered / 300 <= 0.98  # two standard errors are 2.5 points


def test_fifty_thousand_samples_take_under_two_seconds() -> None:
    scores = [np.random.default_rng(d).normal(size=10) for d in range(9)]
    began = time.process_time()
    bootstrap_intervals(scores, [iqm], np.random.default_rng(0))
    assert time.process_time() - began < 2


def test_differences_are_of_means_drawn_again_on_both_sides() -> None:
    x, y = suite([0, 10], [7]), suite([1, 1, 1], [2, 8])
    drawn = statistics.difference_samples(x, y, np.random.default_rng(0), 40_000)
    assert drawn.shape == (2, 40_000)
    values, counts = np.unique(drawn[0], return_counts=True)
    assert values.tolist() == pytest.approx([4 - 5 * 2**0.5, 4, 4 + 5 * 2**0.5])  # a mean of two, less 1
    assert counts / 40_000 == pytest.approx([0.25, 0.5, 0.25], abs=0.01)
    assert drawn[1].min() == pytest.approx(2 - 3 * 2**0.5)  # 7 less 5 and three, stretched
