import pytest

from cqlbench.records.schema import RecordError
from cqlbench.reporting.aggregate import Spread
from cqlbench.reporting.published import Published, compare, published_path, read_published

OURS = Spread(5, 60.0, 4.0, 55.0, 65.0)


def score(mean=58.0, std=3.0, seeds=4, **changes):
    facts = {
        "source": "S",
        "algorithm": "TD3+BC",
        "dataset": "hopper-medium-v2",
        "protocol": "p",
        "place": "x",
    }
    return Published(**facts | {"metric": "normalized_score_last"} | changes, mean=mean, std=std, seeds=seeds)


def beside(*scores, dataset="d4rl/hopper-medium-v2", algorithm="td3_bc", selection="last", ours=OURS):
    return compare(dataset, algorithm, selection, ours, scores)


def test_the_combined_uncertainty_by_hand():
    # Squared standard errors 16/5 and 9/3 (theirs is a population deviation): 6.2. Welch's degrees of
    # freedom: 6.2² / (3.2²/4 + 3²/3) = 6.91; t = 2.371.
    (found,) = beside(score())
    assert found.difference == pytest.approx(2)
    assert found.uncertainty == pytest.approx(2.371 * 6.2**0.5, rel=1e-3)
    assert found.inside is True
    assert beside(score(mean=50.0))[0].inside is False


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (score(std=None), OURS),
        (score(seeds=None), OURS),
        (score(seeds=1), OURS),
        (score(), Spread(2, 60.0, 4.0, None, None)),
    ],
)
def test_without_a_spread_nothing_is_said(theirs, ours):
    (found,) = beside(theirs, ours=ours)
    assert (found.difference, found.uncertainty, found.inside) == (2, None, None)


def test_without_our_score_there_is_no_difference():
    (found,) = beside(score(), ours=Spread(0, None, None, None, None))
    assert (found.difference, found.inside) == (None, None)


def test_equal_scores_without_spread_are_inside():
    (found,) = beside(score(mean=60.0, std=0.0), ours=Spread(5, 60.0, 0.0, 60.0, 60.0))
    assert found.inside is True


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
    assert beside(score(), **other) == ()


def test_the_table_is_whole():
    scores = read_published(published_path())
    assert {"CORL", "d3rlpy-benchmarks", "JAX-CORL", "CQL-paper (via issue)"} <= {
        each.source for each in scores
    }
    assert all(each.protocol and each.place for each in scores)
    (corl,) = [
        each
        for each in scores
        if (each.source, each.algorithm, each.dataset, each.metric)
        == ("CORL", "CQL", "hopper-medium-v2", "normalized_score_last")
    ]
    assert (corl.mean, corl.std, corl.seeds) == (59.08, 3.77, 4)


def test_a_damaged_table_is_one_sentence(tmp_path):
    (tmp_path / "p.csv").write_text("source,algorithm\na,b\n")
    with pytest.raises(RecordError, match="cannot be read"):
        read_published(tmp_path / "p.csv")
