"""Who is best, and how sure: by hand, and as often right as it says."""

import numpy as np
import pytest
from made_records import replace
from reporting.samples import build_report

from cqlbench.reporting.standings import candidates, standings
from cqlbench.reporting.tables.best import best_grid, sentences

SCORES = {
    "x/a-v0": {"cql": [60.0, 62.0, 64.0], "bc": [40.0, 41.0, 42.0], "iql": [58.0, 63.0, 59.0]},
    "x/b-v0": {"cql": [20.0, 21.0, 22.0], "bc": [30.0, 31.0, 32.0]},
}


@pytest.fixture
def report(make_record):
    records = []
    for dataset, algorithms in SCORES.items():
        for algorithm, scores in algorithms.items():
            for seed, score in enumerate(scores):
                record = make_record(seed, [score])
                data = replace(record.dataset, id=dataset, behaviour_score=61.0)
                records.append(replace(record, algorithm=algorithm, dataset=data))
    return build_report(records, samples=200)


def test_places_by_hand(report) -> None:
    whole, first, second = standings(report)
    assert [whole.where, first.where, second.where] == ["", *SCORES]
    # iql has no score of the second dataset.
    assert [(place.name, place.mean) for place in whole.places] == [("cql", 41.5), ("bc", 36.0)]
    assert whole.places[0].above_behaviour == pytest.approx((2 / 3 + 0) / 2)
    assert [place.name for place in first.places] == ["cql", "iql", "bc"]
    # cql's 60, 62, 64 beat 2, 2 and 3 of iql's.
    assert first.beats_next[0] == pytest.approx(7 / 9)
    assert first.candidates == ("cql", "iql")
    assert (second.candidates, second.beats_next[0]) == (("bc",), 1.0)


def test_it_is_said_in_a_sentence_and_a_table(report) -> None:
    (said,) = sentences(report)
    assert said.startswith("cql is best on 2 datasets on average, with 41.5 [")
    assert "the second, bc (36.0), with probability 0.50" in said
    grid = best_grid(report)
    assert grid is not None
    assert grid.foot == 1
    assert [row[0] for row in grid.rows] == [*SCORES, "All datasets"]
    assert grid.rows[0][1:3] == ("cql", "62.0")
    assert grid.rows[0][4:] == ("iql (60.0)", "0.78", "0.67", "cql, iql")
    assert set(grid.runs) == {(0, 1), (1, 1)}


def test_a_single_dataset_is_a_ranking(report) -> None:
    records = [each for summary in report.summaries.values() for each in summary.records]
    one = build_report([each for each in records if each.dataset.id == "x/a-v0"], samples=50)
    grid = best_grid(one)
    assert grid is not None
    assert [(row[0], row[-1]) for row in grid.rows] == [("cql", "yes"), ("iql", "yes"), ("bc", "no")]
    assert "whether it is the best is open" in sentences(one)[0]
    assert "it or iql" in sentences(one)[0]
    alone = build_report([each for each in records if each.algorithm == "cql"], samples=50)
    assert best_grid(alone) is None
    assert sentences(alone)[0].startswith("cql scores 41.5")


def test_two_seeds_rule_nobody_out() -> None:
    scores = {"a": [np.array([50.0, 51.0])], "b": [np.array([1.0, 2.0, 3.0])], "c": [np.full(3, 49.0)]}
    assert candidates(scores) == ("a", "c", "b")
    assert candidates({"a": [np.array([50.0, 51.0, 52.0])], "b": [np.array([1.0])]}) == ("a", "b")


@pytest.mark.parametrize("spread", [0.0, 4.0])
def test_the_truly_best_is_among_them_as_often_as_said(spread: float) -> None:
    generator, held, trials = np.random.default_rng(1), 0, 250
    truth = spread * np.arange(5)
    for _ in range(trials):
        drawn = generator.normal(truth[:, None, None], 6, (5, 2, 4))
        held += "4" in candidates({str(place): list(each) for place, each in enumerate(drawn)})
    assert held / trials >= 0.92  # 95 %, and two standard errors of 1.4 %
