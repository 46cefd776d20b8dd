from math import isnan, nan

import pandas as pd
import pytest

from cqlbench.records.schema import RecordError
from cqlbench.reporting.aggregate import Spread
from cqlbench.reporting.published import compare, published_path, read_published

OURS = Spread(5, 60.0, 4.0, 55.0, 65.0)


def score(mean=58.0, std=3.0, seeds=4, **changes):
    facts = {
        "source": "S",
        "algorithm": "TD3+BC",
        "dataset": "hopper-medium-v2",
        "protocol": "p",
        "place": "x",
    }
    numbers = {"metric": "normalized_score_last", "mean": mean, "std": std, "seeds": seeds}
    return pd.DataFrame([facts | numbers | changes]).astype({"seeds": "Int64"})


def beside(published, dataset="d4rl/hopper-medium-v2", algorithm="td3_bc", selection="last", ours=OURS):
    cell = {"dataset": dataset, "name": algorithm, "compared": selection} | vars(ours)
    return [*compare(pd.DataFrame([cell]), published).itertuples()]


def test_the_combined_uncertainty_by_hand():
    # Squared standard errors 16/5 and 9/3 (theirs is a population deviation): 6.2. Welch's degrees of
    # freedom: 6.2² / (3.2²/4 + 3²/3) = 6.91; t = 2.371.
    (found,) = beside(score())
    assert found.difference == pytest.approx(2)
    assert found.uncertainty == pytest.approx(2.371 * 6.2**0.5, rel=1e-3)
    assert found.inside
    assert not beside(score(mean=50.0))[0].inside


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (score(std=nan), OURS),
        (score(seeds=None), OURS),
        (score(seeds=1), OURS),
        (score(), Spread(2, 60.0, 4.0)),
    ],
)
def test_without_a_spread_nothing_is_said(theirs, ours):
    (found,) = beside(theirs, ours=ours)
    assert found.difference == 2
    assert isnan(found.uncertainty)
    assert found.inside is pd.NA


def test_without_our_score_there_is_no_difference():
    (found,) = beside(score(), ours=Spread(0))
    assert isnan(found.difference)
    assert found.inside is pd.NA


def test_equal_scores_without_spread_are_inside():
    (found,) = beside(score(mean=60.0, std=0.0), ours=Spread(5, 60.0, 0.0, 60.0, 60.0))
    assert found.inside


@pytest.mark.parametrize(
    "other",
    [
        {"dataset": "embedded/hopper-medium-v2"},
        {"dataset": "minari/hopper-medium-v2"},
        {"dataset": "d4rl/hopper-medium-v0"},
        {"algorithm": "bc"},
        {"selection": "best"},
        {"selection": "mean10"},
    ],
)
def test_other_data_algorithms_and_selections_have_no_rival(other):
    assert beside(score(), **other) == []


def test_every_algorithm_that_corl_publishes_stands_beside_ours():
    names = ("bc", "bc10", "td3_bc", "iql", "awac", "rebrac", "sac_n", "edac", "dt", "cql")
    cell = {"dataset": "d4rl/hopper-medium-v2", "compared": "last"} | vars(OURS)
    cells = pd.DataFrame([cell | {"name": name} for name in names])
    found = compare(cells, read_published(published_path())).query("source == 'CORL'")
    assert [*found["name"]] == [*names]
    assert dict(zip(found["name"], found["published"], strict=True))["bc10"] == 55.48


def test_the_table_is_whole():
    scores = read_published(published_path())
    assert {"CORL", "d3rlpy-benchmarks", "JAX-CORL", "CQL-paper (via issue)"} <= set(scores["source"])
    assert (scores[["protocol", "place"]] != "").all(axis=None)
    place = {"source": "CORL", "algorithm": "CQL", "dataset": "hopper-medium-v2"}
    chosen = scores.loc[(scores[[*place]] == pd.Series(place)).all(axis=1)].set_index("metric")
    assert [*chosen.loc["normalized_score_last", ["mean", "std", "seeds"]]] == [59.08, 3.77, 4]


def test_a_damaged_table_is_one_sentence(tmp_path):
    (tmp_path / "p.csv").write_text("source,algorithm\na,b\n")
    with pytest.raises(RecordError, match="cannot be read"):
        read_published(tmp_path / "p.csv")
