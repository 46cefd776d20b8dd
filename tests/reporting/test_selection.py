import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from cqlbench.reporting.selection import RANDOM, choose, regret, spearman
from cqlbench.reporting.tables.selection import selection_csv, selection_grids

NAN = float("nan")


def test_rank_correlation_is_scipys() -> None:
    first, second = np.array([3.0, 1, 4, 1, 5]), np.array([2.0, 7, 1, 8, 2])
    assert spearman(first, second) == pytest.approx(spearmanr(first, second).statistic)
    assert spearman(np.array([first, -second]), np.array([first, second])) == pytest.approx([1, -1])
    assert np.isnan(spearman(first * 0, second))


def test_regret_by_hand() -> None:
    signal, truth = np.array([0.9, 0.1, 0.5, 0.7]), np.array([2.0, 10, 6, 4])
    assert [float(regret(signal, truth, top)) for top in (1, 2, 3, 4)] == [1.0, 0.75, 0.5, 0.0]
    assert np.isnan(regret(signal, truth * 0, 1))


def policies() -> pd.DataFrame:
    """Four configurations of two seeds; the seeds of `c` differ widely, the first has the highest `fqe`."""
    rows = [
        ("a", 1.0, 9.0, 10.0), ("a", 1.0, 9.0, 10.0), ("b", 2.0, 1.0, 20.0), ("b", 2.0, 1.0, 20.0),
        ("c", 9.0, 5.0, 50.0), ("c", -7.0, 5.0, 10.0), ("d", 3.0, NAN, 40.0), ("d", 5.0, NAN, 40.0),
    ]  # fmt: skip
    return pd.DataFrame(
        [
            {"label": label, "run": f"r/{label}", "seed": place % 2, "fqe": fqe, "critic_value": critic,
             "td_error": 1.0, "cloning_distance": -fqe, "return": value, "discounted_return": NAN}
            for place, (label, fqe, critic, value) in enumerate(rows)
        ]
    )  # fmt: skip


def test_configurations_are_ranked_and_not_their_seeds() -> None:
    choice = choose("x/y-v0", policies(), 0.9)
    assert choice.chosen == "d"
    assert (choice.estimate.mean, choice.estimate.count) == (4.0, 2)
    table = choice.quality.set_index("signal")
    assert set(table["truth"]) == {"return"}
    # Means: fqe 1, 2, 1, 4; true 10, 20, 30, 40.
    assert table.loc["fqe", "rho"] == pytest.approx(spearmanr([1, 2, 1, 4], [10, 20, 30, 40]).statistic)
    assert table.loc["fqe", ["value", "regret_1"]].tolist() == [40, 0]
    assert table.loc["cloning_distance", "chosen"] == "d"  # the smallest
    assert table.loc["critic_value", ["count", "chosen", "regret_1"]].tolist() == [3, "a", 1]
    assert np.isnan(table.loc["td_error", "rho"])  # all alike
    # Of a random order: the mean, and the expected best of three.
    assert table.loc[RANDOM, "regret_1"] == pytest.approx((40 - 25) / 30)
    assert table.loc[RANDOM, "regret_3"] == pytest.approx((40 - (40 * 3 + 30) / 4) / 30)
    assert table.loc["fqe", "rho_low"] <= table.loc["fqe", "rho"] <= table.loc["fqe", "rho_high"]


def test_tables_say_where_it_fails_and_what_is_not_known() -> None:
    failing = policies().assign(discounted_return=lambda rows: -rows["fqe"] - 1)
    choices = [
        choose("x/y-v0", failing, 0.9),
        choose(
            "x/z-v0",
            failing.drop(columns=["return"]).assign(**{"return": NAN, "discounted_return": NAN}),
            0.9,
        ),
    ]
    first, second = selection_grids(choices).values()
    assert any("discounted" in note and "chance" in note for note in first.notes)
    assert second.rows[0][2] == "d"
    assert second.rows[0][4] == "–"
    fitted = choices[0].quality.set_index(["truth", "signal"]).loc["discounted_return", "fqe"]
    assert fitted["rho"] == pytest.approx(-1)
    assert fitted["error"] == pytest.approx(np.mean([3, 5, 3, 9]))
    assert {"policies.csv", "selection.csv"} == set(selection_csv(choices))
    assert selection_csv([]) == selection_grids([]) == {}
