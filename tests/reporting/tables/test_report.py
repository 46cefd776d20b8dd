import csv
import io

import pandas as pd
import pytest
from made_records import replace
from reporting.samples import build_report, sample_records

from cqlbench.records.schema import config_hash
from cqlbench.reporting.published import COLUMNS
from cqlbench.reporting.tables.report import csv_files, document, grids


@pytest.fixture
def report(make_record):
    """cql with three seeds and a failed one, bc with two seeds on the first of two datasets; a rival."""

    def of(seed, score, algorithm="cql", dataset="d4rl/hopper-medium-v2", **changes):
        record = make_record(seed, [score], (0, 1, 2, 3) if algorithm == "cql" else (0, 1))
        facts = replace(record.dataset, id=dataset, behaviour_score=44.3)
        return replace(
            record, dataset=facts, algorithm=algorithm, comparable=True, comparable_reason="", **changes
        )

    records = [
        *(of(seed, score) for seed, score in enumerate([50.0, 52.0, 54.0])),
        of(3, 99.0, status="failed", reason="Diverged."),
        *(of(seed, 40.0, "bc") for seed in (0, 1)),
        *(of(seed, 70.0, dataset="d4rl/walker2d-medium-v2") for seed in range(4)),
    ]
    rival = ("R", "CQL", "hopper-medium-v2", "normalized_score_last", 40.0, 1.0, 4, "how", "where")
    return build_report(records, published=pd.DataFrame([rival], columns=[*COLUMNS]), samples=200)


def test_scores(report):
    grid = grids(report)["scores"]
    assert grid.columns == ("Dataset", "Dataset mean", "bc", "cql")
    assert grid.rows == (
        ("d4rl/hopper-medium-v2", "44.3", "40.0 ± 0.0", "52.0 ± 2.0 (3/4)"),
        ("d4rl/walker2d-medium-v2", "44.3", "missing", "70.0 ± 0.0"),
        ("Mean", "44.3", "–", "61.0"),
        # Seven runs, of which one goes at each end: (52 + 54 + 3 · 70) / 5.
        ("IQM", "44.3", "–", "63.2"),
    )
    assert grid.bold == {(0, 3)}
    assert grid.foot == 2


def test_a_dozen_algorithms_are_columns():
    names = ("awac", "bc", "bc10", "calql", "cql", "dt", "edac", "iql", "rebrac", "sac", "sac_n", "td3_bc")
    report = build_report(sample_records(["x/a-v0"], names, seeds=1, evaluations=1, episodes=1), samples=10)
    assert grids(report)["scores"].columns[2:] == names
    assert document(report).title.startswith("awac, bc, bc10")


def test_each_score_is_held_against_the_data(report, make_record):
    grid = grids(report)["behaviour"]
    assert grid.columns == ("Dataset", "Dataset mean", "bc", "cql")
    assert [row[1:] for row in grid.rows] == [("44.3", "0.00", "1.00"), ("44.3", "–", "1.00")]
    assert grids(report)["suite"].rows[-1] == ("Dataset mean", "2/2", "–", *["44.3"] * 3, "55.7")
    data = replace(make_record(0, [0.0]).dataset, behaviour_score=50.0)
    scores = [40.0, 50.0, 60.0, 70.0]
    records = [replace(make_record(i, [score]), dataset=data) for i, score in enumerate(scores)]
    # Of four seeds two are above and one is a tie.
    assert build_report(records, samples=10).cells["above_behaviour"].item() == 0.625
    unknown = [replace(r, dataset=replace(data, behaviour_score=None)) for r in records]
    assert "behaviour" not in grids(build_report(unknown, samples=10))


def test_published_scores_stand_beside_ours(report):
    grid = grids(report)["published-cql"]
    assert grid.columns == ("Dataset", "Ours", "R", "Difference")
    # Squared standard errors 4/3 and 1/3; Welch's t of (5/3)² / (16/18 + 1/27) = 3 degrees: 3.18.
    assert grid.rows == (("d4rl/hopper-medium-v2", "52.0 ± 2.0", "40.0 ± 1.0 [1]", "+12.0 ± 4.1, outside"),)
    assert "[1] R: how (where)" in document(report).notes
    assert "published-bc" not in grids(report)


def test_published_algorithms_that_were_not_run_stand_beside_ours(report):
    rows = [
        ("R", "ReBRAC", "hopper-medium-v2", "normalized_score_last", 102.0, 1.0, 4, "how", "where"),
        ("R", "CQL", "hopper-medium-v2", "normalized_score_last", 40.0, 1.0, 4, "how", "where"),
        ("R", "IQL", "hopper-medium-v2", "normalized_score_best", 90.0, 1.0, 4, "how", "where"),
        ("R", "IQL", "hopper-medium-v0", "normalized_score_last", 80.0, 1.0, 4, "how", "where"),
        ("S", "EDAC", "walker2d-medium-v2", "normalized_score_last", 92.5, None, 4, "else", "there"),
    ]
    records = [record for summary in report.summaries.values() for record in summary.records]
    published = pd.DataFrame(rows, columns=[*COLUMNS])
    beside = build_report(records, published=published, samples=50)
    found = grids(beside)
    # Another metric or version does not count, and CQL was run.
    assert found["published-others-R"].columns == ("Dataset", "bc (ours)", "cql (ours)", "ReBRAC")
    assert found["published-others-R"].rows == (
        ("d4rl/hopper-medium-v2", "40.0 ± 0.0", "52.0 ± 2.0", "102.0 ± 1.0 [1]"),
    )
    assert found["published-others-S"].rows == (("d4rl/walker2d-medium-v2", "–", "70.0 ± 0.0", "92.5 [2]"),)
    assert document(beside).notes[-2:] == ("[1] R: how (where)", "[2] S: else (there)")
    csvs = csv_files(beside)["published-others.csv"].splitlines()
    assert csvs[1:] == [
        "d4rl/hopper-medium-v2,ReBRAC,R,102,1,4,how,where",
        "d4rl/walker2d-medium-v2,EDAC,S,92.5,,4,else,there",
    ]
    apart = [replace(record, comparable=False, comparable_reason="no") for record in records]
    alone = grids(build_report(apart, published=published, samples=10))
    assert not any("published" in name for name in alone)


def test_missing_failed_and_too_few_are_said(report):
    warnings = document(report).warnings
    assert "cql on d4rl/hopper-medium-v2, seed 3 failed: Diverged." in warnings
    assert "bc on d4rl/walker2d-medium-v2: no record." in warnings
    rows = {(row[0].split("/")[1].split("-")[0], row[1]): row[2:6] for row in grids(report)["runs"].rows}
    assert rows["hopper", "cql"] == ("partial", "3/4", "52.0 ± 2.0", "[47.0, 57.0]")
    assert rows["hopper", "bc"] == ("finished", "2/2", "40.0 ± 0.0", "–")
    assert rows["walker2d", "bc"] == ("missing", "0/0", "–", "–")


def test_an_oracle_is_called_one(report, make_record):
    best = build_report([make_record(0, [1.0, 2.0])], "best", samples=10)
    assert "oracle" in document(best).title
    assert "oracle" in document(best).warnings[0]


def test_what_is_not_comparable_says_why_once(make_record):
    content = document(build_report([make_record(seed, [1.0], (0, 1)) for seed in (0, 1)], samples=10))
    assert content.warnings == ("Not comparable with published scores: the budget is quick.",)
    assert "suite" not in grids(build_report([make_record(0, [1.0])], samples=10))


def test_csv_is_tidy(report):
    files = {name: list(csv.DictReader(io.StringIO(text))) for name, text in csv_files(report).items()}
    cell = next(row for row in files["scores.csv"] if row["algorithm"] == "cql")
    assert (cell["mean"], cell["std"], cell["finished"], cell["asked"]) == ("52", "2", "3", "4")
    assert (cell["status"], cell["best"], cell["comparable"]) == ("partial", "True", "True")
    assert cell["run"] == "quick-d85c60ab3617"
    few = next(row for row in files["scores.csv"] if row["algorithm"] == "bc")
    assert (few["mean"], few["low"]) == ("40", "")
    (rival,) = files["published.csv"]
    assert (rival["difference"], rival["inside"], rival["protocol"]) == ("12", "False", "how")
    assert {row["aggregate"] for row in files["suite.csv"]} == {"mean", "median", "IQM", "optimality gap"}
    assert (cell["behaviour"], cell["above_behaviour"]) == ("44.3", "1")


def test_configurations_are_rows_by_the_settings_that_differ(make_record):
    records = []
    for weight, score in ((1, 40.0), (5, 60.0)):
        config = make_record(0, [0.0]).config
        config = config | {"algorithm": {**config["algorithm"], "conservative_weight": weight}}
        records += [
            replace(make_record(seed, [score + seed]), config=config, config_hash=config_hash(config))
            for seed in (0, 1, 2)
        ]
    grid = grids(build_report(records, samples=50))["settings-cql"]
    assert grid.columns == ("conservative_weight", "d4rl/hopper-medium-v2")
    assert grid.rows == (("5", "61.0 ± 1.0"), ("1", "41.0 ± 1.0"))


@pytest.mark.parametrize(("bold", "expected"), [("interval", {(0, 3)}), ("95%-of-best", {(0, 2), (0, 3)})])
def test_bold_by_the_interval_or_by_a_share_of_the_best(make_record, bold, expected):
    def of(algorithm, seed, score):
        return replace(make_record(seed, [score]), algorithm=algorithm)

    records = [of("bc", seed, 48.0 + 0.1 * seed) for seed in (0, 1, 2)]
    records += [of("cql", seed, 50.0 + 0.1 * seed) for seed in (0, 1, 2)]
    records += [of("td3_bc", seed, 40.0) for seed in (0, 1, 2)]
    grid = grids(build_report(records, samples=50, bold=bold))["scores"]
    assert grid.bold == expected
    assert ("at most 5 %" in grid.caption) == (bold == "95%-of-best")
