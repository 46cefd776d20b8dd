import itertools

import numpy as np
import pytest

from cqlbench.core.errors import UserError
from cqlbench.reporting.tuning import bandit, expected_best, played_curve, published_tunings, tried_curve

LOCOMOTION = [
    f"d4rl/{body}-{kind}-v2"
    for body in ("halfcheetah", "hopper", "walker2d")
    for kind in ("random", "medium", "expert", "medium-expert", "medium-replay", "full-replay")
]


def test_the_expected_best_is_the_mean_over_all_choices() -> None:
    scores = np.array([3.0, -1.0, 10.0, 4.0, 4.0])
    every = [np.mean([max(chosen) for chosen in itertools.combinations(scores, k)]) for k in range(1, 6)]
    np.testing.assert_allclose(expected_best(scores), every)
    np.testing.assert_allclose(expected_best([scores, scores + 1], most=2), [every[:2], np.add(every[:2], 1)])


def test_published_sweeps_give_the_published_order() -> None:
    found = {each.algorithm: each for each in published_tunings(LOCOMOTION)}
    assert found["IQL"].tried.mean[:2] == pytest.approx([65.0, 71.6], abs=0.05)
    assert found["ReBRAC"].tried.mean[:2] == pytest.approx([62.0, 73.6], abs=0.05)
    assert found["IQL"].configurations == 20
    assert found["TD3+BC"].configurations == 5
    assert published_tunings([*LOCOMOTION, "d4rl/none-v9"]) == ()
    assert published_tunings(["embedded/hopper-medium-v0"]) == ()


def test_a_table_that_cannot_be_read_is_named(tmp_path) -> None:
    (tmp_path / "x.csv").write_text("algorithm\nIQL\n")
    with pytest.raises(UserError, match=r"x\.csv"):
        published_tunings(LOCOMOTION, tmp_path / "x.csv")


def test_the_bandit_pulls_each_arm_once_and_then_finds_the_best() -> None:
    generator = np.random.default_rng(0)
    episodes = np.tile([[[5.0, 5.0], [0.0, 0.0], [9.0, 9.0]]], (7, 1, 1))
    found = bandit(episodes, 5, generator)
    np.testing.assert_array_equal(found, np.tile([5.0, 5, 9, 9, 9], (7, 1)))
    # An arm that first looks bad is pulled again: the better of two is found in the end.
    noisy = np.tile([np.linspace(0, 10, 50), np.linspace(2, 12, 50)], (400, 1, 1))
    values = bandit(noisy, 300, generator).mean(0)
    assert values[0] == pytest.approx(5.0)
    assert values[1] < 6.6 < 6.8 < values[-1]


def test_seeds_of_configurations_may_differ_in_number() -> None:
    seeds = [np.array([1.0, 3.0]), np.array([10.0]), np.array([4.0, 4.0, 7.0])]
    curve = tried_curve([seeds, [each + 2 for each in seeds]], np.random.default_rng(0))
    np.testing.assert_allclose(curve.mean, expected_best([2.0, 10.0, 5.0]) + 1)
    assert curve.low[0] < curve.mean[0] < curve.high[0]
    assert np.isnan([curve.low[1:], curve.high[1:]]).all()  # of more than half of the configurations
    episodes = [np.repeat(each[:, None], 2, 1) for each in seeds]
    played = played_curve([episodes], np.random.default_rng(0), samples=40)
    # At first an arm at random, in the end the best of three policies, one of each configuration.
    assert played.mean[0] == pytest.approx((2 + 10 + 5) / 3, abs=0.5)
    assert played.mean[-1] == pytest.approx(10)
    assert played.low[0] < played.mean[0] < played.high[0]


@pytest.mark.parametrize("seeds", [3, 10])
def test_what_the_interval_covers(seeds: int) -> None:
    """Of eight configurations, the mean of one tried; `results/README.md` has the rest."""
    generator, hits = np.random.default_rng(seeds), 0
    for _ in range(150):
        configurations = generator.normal(50, 15, 8)
        scores = [generator.normal(each, 8, seeds) for each in configurations]
        curve = tried_curve([scores], generator, samples=300)
        hits += curve.low[0] <= 50 <= curve.high[0]
    assert 0.85 < hits / 150 < 0.97
