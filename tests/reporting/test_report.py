import numpy as np
import pandas as pd
import pytest
from made_records import replace
from reporting.samples import build_report, cell

from cqlbench.records.schema import config_hash
from cqlbench.reporting.aggregate import PoolingError, Spread
from cqlbench.reporting.published import COLUMNS
from cqlbench.reporting.report import best, build_reports

SAMPLES = 400


def of(record, dataset=None, algorithm=None, **changes):
    """The record as if of another dataset or algorithm."""
    if algorithm:
        config = record.config | {"algorithm": record.config["algorithm"] | {"name": algorithm}}
        changes |= {"algorithm": algorithm, "config": config, "config_hash": config_hash(config)}
    if dataset:
        changes["dataset"] = replace(record.dataset, id=dataset)
    return replace(record, **changes)


@pytest.fixture
def records(make_record):
    """Two datasets; cql on both, bc on both, one seed failed, td3 on the first only."""
    cells = {
        ("d4rl/hopper-medium-v2", "cql"): [50, 52, 54],
        ("d4rl/hopper-medium-v2", "bc"): [30, 31, 32],
        ("d4rl/hopper-medium-v2", "td3"): [53, 55],
        ("d4rl/walker2d-medium-v2", "cql"): [70, 80, 90],
        ("d4rl/walker2d-medium-v2", "bc"): [75, 76, 77],
    }
    made = [
        of(make_record(seed, [score - 10.0, float(score)]), dataset, algorithm)
        for (dataset, algorithm), scores in cells.items()
        for seed, score in enumerate(scores)
    ]
    made[5] = replace(made[5], status="failed", reason="Diverged.")
    return made


def test_cells_by_hand(records):
    report = build_report(records, samples=SAMPLES)
    assert report.datasets == ("d4rl/hopper-medium-v2", "d4rl/walker2d-medium-v2")
    assert report.algorithms == ("bc", "cql", "td3")
    found = cell(report, "d4rl/hopper-medium-v2", "cql")
    # Student's t with two degrees of freedom: 4.303 · 2 / √3.
    assert (found.mean, found.std) == pytest.approx((52, 2))
    assert found.high == pytest.approx(52 + 4.303 * 2 / 3**0.5, abs=1e-2)
    failed = cell(report, "d4rl/hopper-medium-v2", "bc")
    np.testing.assert_allclose(report.scores["bc"][0], [30, 31])
    assert (failed.status, failed.count, failed.asked) == ("partial", 2, 3)
    assert np.isnan(failed.low)
    assert cell(report, "d4rl/walker2d-medium-v2", "td3").status == "missing"


@pytest.mark.parametrize(("selection", "expected"), [("last", 52), ("best", 52), ("mean10", 47)])
def test_selection(records, selection, expected):
    report = build_report(records, selection, samples=SAMPLES)
    assert cell(report, "d4rl/hopper-medium-v2", "cql").mean == pytest.approx(expected)


def test_suites_by_hand(records):
    suite = build_report(records, samples=SAMPLES).suite.set_index(["algorithm", "aggregate"])
    assert suite.loc[("cql", "mean"), "value"] == pytest.approx(66)
    # Six runs, one cut at each end: (52 + 54 + 70 + 80) / 4.
    assert suite.loc[("cql", "IQM"), "value"] == pytest.approx(64)
    low, high = suite.loc[("cql", "mean"), ["low", "high"]]
    assert 66 - 6 * 1.5**0.5 <= low < 66 < high <= 66 + 6 * 1.5**0.5
    # Two seeds are too few for an interval, a dataset that is missing for anything.
    assert suite.loc[("bc", "mean"), "value"] == 53.25
    assert np.isnan(suite.loc[("bc", "mean"), "low"])
    assert suite.loc[("td3", "mean"), "datasets"] == 1
    assert np.isnan(suite.loc[("td3", "mean"), "value"])


def test_improvement_by_hand(records):
    (pair,) = build_report(records, samples=SAMPLES).improvement.itertuples()
    # The probably better one is first. bc never beats cql's 50 to 54, and 75 to 77 beat 70 of 70, 80, 90.
    assert (pair.first, pair.second, pair.probability) == ("cql", "bc", pytest.approx((1 + 2 / 3) / 2))


def test_the_better_ones_interval_is_given(make_record):
    scores = {"bc": [30, 31, 53], "cql": [50, 52, 54]}
    records = [
        of(make_record(seed, [float(score)]), "d4rl/hopper-medium-v2", algorithm)
        for algorithm, each in scores.items()
        for seed, score in enumerate(each)
    ]
    (pair,) = build_report(records, samples=SAMPLES).improvement.itertuples()
    assert (pair.first, pair.probability) == ("cql", pytest.approx(7 / 9))
    assert 0.2 < pair.low < 7 / 9 < pair.high == 1


def test_the_order_of_records_and_other_algorithms_change_nothing(records):
    report = build_report(records, samples=SAMPLES)
    again = build_report(records[::-1], samples=SAMPLES)
    pd.testing.assert_frame_equal(again.suite, report.suite)
    pd.testing.assert_frame_equal(again.improvement, report.improvement)
    alone = build_report([record for record in records if record.algorithm == "cql"], samples=SAMPLES)
    ours = report.suite[report.suite["algorithm"].isin(["cql", report.reference])]
    pd.testing.assert_frame_equal(alone.suite, ours.reset_index(drop=True))


def best_of(*spreads):
    cells = pd.DataFrame([vars(each) for each in spreads]).assign(dataset="d")
    return [*best(cells)]


def test_best_are_the_means_inside_the_interval_of_the_highest():
    ours, inside, below, few = (
        Spread(5, 50.0, 2.0, 48.0, 52.0),
        Spread(5, 48.0, 0.1, 47.9, 48.1),
        Spread(5, 40.0, 2.0, 38.0, 42.0),
        Spread(2, 49.0, 2.0),
    )
    assert best_of(below, ours, few, inside) == [False, True, False, True]
    # Scatter of its own makes no score better.
    assert best_of(Spread(3, 47.0, 30.0, -20.0, 114.0), ours) == [False, True]
    assert best_of(ours) == [False]
    assert best_of(ours, Spread(0)) == [False, False]
    # The highest mean is of two seeds: nobody can say which is best.
    assert best_of(replace(few, mean=60.0), ours) == [False, False]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda r: replace(
                of(r, algorithm="x"), dataset=replace(r.dataset, content_hash="0")
            ),
            "content hash",
        ),
        (
            lambda r: replace(
                of(r, algorithm="x"), protocol=replace(r.protocol, max_episode_steps=7)
            ),
            r"protocol \(max_episode_steps\)",
        ),
        (
            lambda r: replace(
                of(r, "d4rl/ant-medium-v2"),
                protocol=replace(
                    r.protocol, environment=replace(r.protocol.environment, backend_version="9.9")
                ),
            ),
            r"environment \(backend_version\)",
        ),
        (
            lambda r: replace(of(r, "d4rl/ant-medium-v2"), protocol=replace(r.protocol, deterministic=False)),
            r"\(deterministic\)",
        ),
    ],
)  # fmt: skip
def test_what_must_not_meet_in_a_table_is_refused(make_record, change, words):
    ours = make_record(0, [50.0])
    with pytest.raises(PoolingError, match=words):
        build_reports([ours, change(make_record(1, [50.0]))])


def configured(record, **settings):
    config = record.config | {"algorithm": record.config["algorithm"] | settings}
    return replace(record, config=config, config_hash=config_hash(config))


def test_sources_budgets_versions_and_scores_of_other_code_are_sections_of_their_own(make_record):
    ours = make_record(0, [50.0])
    newer = ours.config | {"scores_version": 7}
    others = [
        ours,
        of(ours, "embedded/ant-medium-v0"),
        of(ours, "d4rl/hopper-medium-v0"),
        replace(ours, budget=replace(ours.budget, name="paper")),
        replace(ours, config=newer, config_hash=config_hash(newer)),
    ]
    for records in (others, others[::-1]):
        reports = build_reports(records, samples=SAMPLES)
        assert [report.budget for report in reports] == ["paper", "quick", "quick", "quick", "quick"]
        assert len({report.section for report in reports}) == 5
        assert [report.datasets for report in reports] == [
            ("d4rl/hopper-medium-v2",),
            ("d4rl/hopper-medium-v0",),
            ("d4rl/hopper-medium-v2",),
            ("d4rl/hopper-medium-v2",),
            ("embedded/ant-medium-v0",),
        ]
    (only,) = build_reports(others[:1], samples=SAMPLES)
    assert (only.section, only.note) == ("", "")


def test_configurations_of_an_algorithm_are_columns_by_what_differs(make_record):
    sweep = [
        configured(make_record(seed, [weight + seed]), conservative_weight=weight)
        for weight in (10.0, 2.0, 1.0)
        for seed in range(3)
    ]
    walker = [of(configured(make_record(seed, [60.0]), batch_size=7), "d4rl/ant-v2") for seed in range(3)]
    report = build_report([*sweep, *walker, of(make_record(0, [9.0]), algorithm="bc")], samples=SAMPLES)
    names = tuple(f"cql (conservative_weight={weight})" for weight in (1, 2, 10))
    assert report.algorithms == ("bc", *names)  # the other dataset's own settings are no difference
    assert cell(report, "d4rl/hopper-medium-v2", names[0]).mean == pytest.approx(2)
    assert cell(report, "d4rl/ant-v2", names[2]).mean == pytest.approx(60)
    means = report.suite.query("aggregate == 'mean' and algorithm != @report.reference")
    assert [*means["datasets"]] == [1, 1, 1, 2]
    assert means["value"].iloc[-1] == pytest.approx((11 + 60) / 2)


def test_of_many_columns_each_is_compared_with_the_highest_only(make_record):
    records = [
        configured(make_record(seed, [float(weight)]), conservative_weight=weight)
        for weight in range(1, 10)
        for seed in range(3)
    ]
    report = build_report(records, samples=SAMPLES)
    assert len(report.improvement) == 8
    assert set(report.improvement["first"]) == {"cql (conservative_weight=9)"}
    assert report.whose == "9 variants of cql"


def test_no_records_are_refused():
    with pytest.raises(PoolingError):
        build_reports([])


def test_published_scores_stand_only_beside_comparable_ones(records):
    row = ("S", "CQL", "hopper-medium-v2", "normalized_score_last", 50.0, 1.0, 4, "protocol", "place")
    rival = pd.DataFrame([row], columns=[*COLUMNS])
    report = build_report(records, published=rival, samples=SAMPLES)
    assert report.rivals.empty
    good = [replace(record, comparable=True, comparable_reason="") for record in records]
    (comparison,) = build_report(good, published=rival, samples=SAMPLES).rivals.itertuples()
    assert (comparison.dataset, comparison.algorithm) == ("d4rl/hopper-medium-v2", "cql")
    assert comparison.difference == pytest.approx(2)
    # One seed that may not is enough.
    assert build_report([records[0], *good[1:]], published=rival, samples=SAMPLES).rivals.empty
