import csv
import io
from dataclasses import replace

import pytest

from cqlbench.reporting.export import flat, rows_of, to_csv, to_parquet


@pytest.fixture
def rows(make_record):
    skipped = replace(
        make_record(1, [1.0]),
        evaluations=(), protocol=None, throughput=None, diagnostics=(), status="skipped", reason="No data.",
    )  # fmt: skip
    return rows_of([make_record(0, [10.0, 20.0, 30.0]), skipped])


def test_a_row_per_evaluation(rows):
    assert [(row["seed"], row.get("step"), row.get("score")) for row in rows] == [
        (0, 1000, 10), (0, 2000, 20), (0, 3000, 30), (1, None, None),
    ]  # fmt: skip
    first = rows[0]
    assert first["run"] == "d4rl/hopper-medium-v2/cql/quick-d85c60ab3617"
    assert (first["length"], first["diagnostics.critic_loss"]) == (200, 12.5)
    assert (first["config.algorithm.conservative_weight"], first["config.algorithm.actor_hidden"]) == (
        10.0,
        "[256, 256, 256]",
    )
    assert first["protocol.environment.id"] == "Hopper-v4"
    assert (rows[3]["status"], rows[3]["reason"]) == ("skipped", "No data.")


def test_seeds_that_may_not_share_a_mean_say_nothing_of_one_another(make_record):
    apart = make_record(2, [1.0])
    apart = replace(
        apart, git=replace(apart.git, dirty=True), dataset=replace(apart.dataset, content_hash="0")
    )
    said = [row["differing"] for row in rows_of([make_record(0, [1.0]), make_record(1, [1.0]), apart])]
    assert said[:2] == [None, None]
    assert said[2].startswith("all seeds")


def test_flat_joins_keys():
    assert flat({"a": {"b": {"c": 1}}, "d": (1, 2), "e": None}) == {"a.b.c": 1, "d": "[1, 2]", "e": None}


def test_csv_has_every_column_and_row(rows):
    found = list(csv.DictReader(io.StringIO(to_csv(rows).decode())))
    assert [row["score"] for row in found] == ["10.0", "20.0", "30.0", ""]
    assert "diagnostics.step" not in found[0]


def test_parquet_is_read_back(rows):
    parquet = pytest.importorskip("pyarrow.parquet")
    rows[0]["mixed"], rows[1]["mixed"], rows[0]["number"], rows[1]["number"] = "text", 3, 1, 2.5
    table = parquet.read_table(io.BytesIO(to_parquet(rows)))
    assert table["score"].to_pylist() == [10, 20, 30, None]
    assert table["seed"].to_pylist() == [0, 0, 0, 1]
    assert table["mixed"].to_pylist() == ["text", "3", None, None]
    assert table["number"].to_pylist() == [1.0, 2.5, None, None]
