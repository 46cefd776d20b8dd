import math

import numpy as np
import pytest
from made_records import replace
from scipy import stats

from cqlbench.records.schema import Evaluation
from cqlbench.reporting.aggregate import (
    PoolingError,
    Spread,
    mean_score,
    spread,
    summarise,
    summarise_largest,
)


def test_spread_of_three_seeds_by_hand():
    # mean 4, deviations -2 0 2, sample variance 8/2 = 4; t has a closed form for 2 degrees.
    t = 0.95 * math.sqrt(2 / (4 * 0.975 * 0.025))
    assert t == pytest.approx(4.302653, abs=1e-6)
    result = spread([2.0, 4.0, 6.0])
    assert (result.count, result.mean, result.std) == (3, 4.0, 2.0)
    assert result.low == pytest.approx(4.0 - t * 2.0 / math.sqrt(3), rel=1e-9)
    assert result.high == pytest.approx(4.0 + t * 2.0 / math.sqrt(3), rel=1e-9)


def test_spread_agrees_with_scipy_for_five_seeds():
    values = np.array([58.1, 62.1, 62.3, 49.9, 56.8])
    low, high = stats.t.interval(0.95, 4, loc=values.mean(), scale=stats.sem(values))
    assert (spread(values).low, spread(values).high) == pytest.approx((low, high), rel=1e-9)


def test_spread_of_too_few_seeds_claims_nothing():
    assert spread([]) == Spread(0)
    assert spread([3.0]) == Spread(1, 3.0)
    assert spread([1.0, 3.0]) == Spread(2, 2.0, pytest.approx(math.sqrt(2)))


def test_interval_covers_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(size=(4000, 3))
    covered = [s.low < 0 < s.high for s in map(spread, draws)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.012)


def test_summary_by_hand(make_record):
    scores = [*range(10, 30), 20.0]
    summary = summarise([make_record(1, [50.0]), make_record(0, scores), make_record(2, [70.0])])
    first = summary.seeds[0]
    assert [result.seed for result in summary.seeds] == [0, 1, 2]
    assert first.last == pytest.approx(20.0)
    assert first.late == pytest.approx((21 + 22 + 23 + 24 + 25 + 26 + 27 + 28 + 29 + 20) / 10)
    assert first.best == pytest.approx(29.0)
    assert first.last_length == 200.0
    assert first.step == 3000
    assert first.last_return == pytest.approx(-20.272305 + 0.20 * (3234.3 + 20.272305))
    assert summary.over("last").mean == pytest.approx((20 + 50 + 70) / 3)
    assert summary.over("last").std == pytest.approx(np.std([20, 50, 70], ddof=1))
    assert summary.over("best").mean == pytest.approx((29 + 50 + 70) / 3)
    assert list(summary.curve.steps) == [3000]


def test_the_order_of_the_records_does_not_matter(make_record):
    records = [make_record(seed, [seed * 1.0, seed * 2.0]) for seed in (0, 1, 2)]
    assert summarise(records).over("last") == summarise(records[::-1]).over("last")
    assert summarise(records).records == summarise(records[::-1]).records


def test_curve_is_mean_over_seeds_at_each_step(make_record):
    curve = summarise(
        [make_record(0, [0.0, 10.0]), make_record(1, [2.0, 14.0]), make_record(2, [4.0, 30.0])]
    ).curve
    assert curve.normalised
    assert list(curve.steps) == [1500, 3000]
    assert curve.values.shape == (3, 2)
    assert curve.mean == pytest.approx([2.0, 18.0])
    assert (curve.low[1] + curve.high[1]) / 2 == pytest.approx(18.0)


def test_failed_and_missing_seeds_are_listed_and_not_pooled(make_record):
    failed = replace(make_record(1, [1.0, 2.0]), status="failed", reason="it diverged")
    summary = summarise([make_record(0, [50.0, 60.0]), failed])
    assert [result.status for result in summary.seeds] == ["finished", "failed", "missing"]
    assert summary.seeds[1].reason == "it diverged"
    assert summary.over("last") == Spread(1, pytest.approx(60.0))
    assert summary.curve.seeds == (0,)


def test_a_run_that_never_began_can_be_reported_beside_those_that_did(make_record):
    base = make_record(1, [1.0])
    facts = replace(base.dataset, content_hash=None, rows=None, episodes=None)
    skipped = replace(
        base, dataset=facts, protocol=None, evaluations=(), throughput=None, status="skipped", reason="x"
    )
    assert summarise([skipped]).curve is None
    summary = summarise([skipped, make_record(0, [5.0])])
    assert summary.lead.seed == 0
    assert summary.over("last").count == 1


def test_an_evaluation_with_a_failed_episode_has_no_score(make_record):
    assert mean_score(Evaluation.of(1, [1.0, np.nan], [1, 1], [3.0, np.nan], 0.0)) is None
    assert mean_score(Evaluation.of(1, [1.0, 2.0], [1, 1], [3.0, 5.0], 0.0)) == 4.0
    record = make_record(0, [5.0, 6.0])
    broken = Evaluation.of(3000, [1.0, np.nan], [1, 1], [100 * 21.272305 / 3254.572305, np.nan], 0.0)
    result = summarise([replace(record, evaluations=(record.evaluations[0], broken))]).seeds[0]
    assert (result.last, result.late, result.best) == (None, None, pytest.approx(5.0))


def _other_environment(record):
    place = replace(record.protocol.environment, backend_version="9.9")
    return replace(record, protocol=replace(record.protocol, environment=place))


def _other_config(record):
    from cqlbench.records.schema import config_hash

    config = record.config | {"algorithm": record.config["algorithm"] | {"conservative_weight": 5.0}}
    return replace(record, config=config, config_hash=config_hash(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda r: replace(r, dataset=replace(r.dataset, id="d4rl/hopper-medium-v0")),
            "their dataset differs",
        ),
        (lambda r: replace(r, dataset=replace(r.dataset, content_hash="0")), "dataset content hash differs"),
        (lambda r: replace(r, algorithm="bc"), "algorithm differs, 'cql' against 'bc'"),
        (lambda r: replace(r, budget=replace(r.budget, name="paper")), r"budget \(name\) differs, 'quick'"),
        (lambda r: replace(r, budget=replace(r.budget, evaluation_interval=7)), r"\(evaluation_interval\)"),
        (_other_config, r"config \(algorithm.conservative_weight\) differs, 10.0 against 5.0"),
        (
            lambda r: replace(r, protocol=replace(r.protocol, deterministic=False)),
            r"protocol \(deterministic\)",
        ),
        (_other_environment, r"\(environment.backend_version\) differs, '1.2.5' against '9.9'"),
        (lambda r: replace(r, protocol=replace(r.protocol, max_episode_steps=7)), r"\(max_episode_steps\)"),
    ],
)
def test_what_must_not_meet_in_a_cell_is_refused(make_record, change, message):
    records = [make_record(0, [1.0]), make_record(1, [2.0]), change(make_record(2, [3.0]))]
    with pytest.raises(PoolingError, match=message) as caught:
        summarise(records)
    assert "Seeds 0 and 2" in str(caught.value)
    with pytest.raises(PoolingError, match=message.split(" differs")[0]):
        summarise(records[::-1])


def test_of_seeds_that_may_not_be_pooled_the_most_and_then_the_newest_are(make_record):
    def other(seed, **changes):
        record = make_record(seed, [9.0], **changes)
        return replace(record, dataset=replace(record.dataset, content_hash="0"))

    skipped = replace(
        make_record(3, [1.0]), status="skipped", reason="No room.", protocol=None, evaluations=()
    )
    skipped = replace(skipped, dataset=replace(skipped.dataset, content_hash=None))
    summary = summarise_largest([skipped, make_record(0, [1.0]), other(1), other(2)])
    assert summary.over("last").mean == pytest.approx(9.0)
    assert [line.status for line in summary.seeds] == ["not pooled", "finished", "finished", "skipped"]
    assert "content hash" in summary.seeds[0].reason
    assert "rerun=true" in summary.seeds[0].reason
    newer = other(1, created_at="2030-01-01T00:00:00+00:00")
    for records in ([make_record(0, [1.0]), newer], [newer, make_record(0, [1.0])]):
        assert summarise_largest(records).over("last").mean == pytest.approx(9.0)


def test_nothing_and_the_same_seed_twice_are_refused(make_record):
    with pytest.raises(PoolingError, match="no records"):
        summarise([])
    with pytest.raises(PoolingError, match="Seed 0 of d4rl/hopper-medium-v2 is there twice"):
        summarise([make_record(0, [1.0]), make_record(0, [2.0])])


def test_a_seed_without_environment_beside_evaluated_ones_is_listed_and_not_pooled(make_record):
    unplayed = replace(
        make_record(0, [1.0]), protocol=None, evaluations=(), reason="No environment is known."
    )
    summary = summarise([unplayed, make_record(1, [50.0]), make_record(2, [60.0])])
    assert summary.over("last").count == 2
    assert summary.curve.seeds == (1, 2)
    assert summary.lead.protocol is not None
    assert summary.seeds[0].reason == "No environment is known."
