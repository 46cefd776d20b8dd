"""Frames against the records themselves; the export is read back."""

import csv
import io

import pandas as pd
import pytest
from made_records import replace

from cqlbench.core.errors import ConfigError
from cqlbench.core.text import flat
from cqlbench.records.frame import evaluations_frame, load_results, seeds_frame, to_csv, to_parquet
from cqlbench.records.schema import RecordError, config_hash
from cqlbench.records.store import RecordStore


@pytest.fixture
def records(make_record):
    skipped = replace(
        make_record(1, [1.0]),
        evaluations=(), protocol=None, throughput=None, diagnostics=(), status="skipped", reason="No data.",
    )  # fmt: skip
    return [make_record(0, [10.0, 20.0, 30.0]), skipped]


@pytest.fixture
def frame(records):
    return evaluations_frame(records)


def test_a_row_per_evaluation(frame):
    assert frame["seed"].tolist() == [0, 0, 0, 1]
    assert frame["step"].dropna().tolist() == [1000, 2000, 3000]
    assert frame["score"].dropna().tolist() == [10, 20, 30]
    first = frame.iloc[0]
    assert first["run"] == "d4rl/hopper-medium-v2/cql/quick-d85c60ab3617"
    assert (first["length"], first["diagnostics.critic_loss"]) == (200, 12.5)
    assert first["config.algorithm.conservative_weight"] == 10.0
    assert first["config.algorithm.actor_hidden"] == "[256, 256, 256]"
    assert first["protocol.environment.id"] == "Hopper-v4"
    assert (frame.iloc[3]["status"], frame.iloc[3]["reason"]) == ("skipped", "No data.")
    assert {str(frame[name].dtype) for name in ("seed", "step")} == {"Int64"}
    assert (str(frame["score"].dtype), str(frame["comparable"].dtype)) == ("Float64", "boolean")


def test_a_row_per_seed(records):
    frame = seeds_frame(records)
    assert frame["score"].tolist()[0] == 30
    assert frame["score_late"].tolist()[0] == 20
    assert frame["score"].isna().tolist() == [False, True]
    assert frame["status"].tolist() == ["finished", "skipped"]
    assert isinstance(frame["dataset"].dtype, pd.CategoricalDtype)
    assert frame.groupby("algorithm", observed=True)["score"].mean()["cql"] == 30


def test_a_folder_is_loaded_whole(records, tmp_path):
    with pytest.raises(RecordError, match="no records"):
        load_results(tmp_path)
    for record in records:
        RecordStore(tmp_path).write(record)
    assert load_results(tmp_path).equals(seeds_frame(records))
    evaluations = load_results(tmp_path, per="evaluation")
    assert evaluations["step"].tolist() == [1000, 2000, 3000]
    assert evaluations["score"].tolist() == [10, 20, 30]
    assert evaluations["seed"].tolist() == [0, 0, 0]
    assert isinstance(evaluations["run"].dtype, pd.CategoricalDtype)
    with pytest.raises(ConfigError, match="per"):
        load_results(tmp_path, per="episode")


def test_settings_name_what_differs(records):
    config = {
        **records[0].config,
        "algorithm": {**records[0].config["algorithm"], "conservative_weight": 5.0},
    }
    other = replace(records[0], config=config, config_hash=config_hash(config))
    frame = seeds_frame([records[0], other])
    assert frame["settings"].tolist() == ["conservative_weight=10", "conservative_weight=5"]
    assert set(seeds_frame(records)["settings"]) == {""}


def test_seeds_that_may_not_share_a_mean_say_nothing_of_one_another(make_record):
    apart = make_record(2, [1.0])
    apart = replace(
        apart, git=replace(apart.git, dirty=True), dataset=replace(apart.dataset, content_hash="0")
    )
    said = evaluations_frame([make_record(0, [1.0]), make_record(1, [1.0]), apart])["differing"]
    assert said.isna().tolist() == [True, True, False]
    assert said[2].startswith("all seeds")


def test_flat_joins_keys():
    assert flat({"a": {"b": {"c": 1}}, "d": (1, 2), "e": None}) == {"a.b.c": 1, "d": "[1, 2]", "e": None}


def test_csv_has_every_column_and_row(frame):
    found = list(csv.DictReader(io.StringIO(to_csv(frame).decode())))
    assert [row["score"] for row in found] == ["10.0", "20.0", "30.0", ""]
    assert [row["step"] for row in found] == ["1000", "2000", "3000", ""]
    assert "diagnostics.step" not in found[0]


def test_parquet_is_read_back(frame):
    parquet = pytest.importorskip("pyarrow.parquet")
    frame["mixed"] = pd.Series(["text", 3, None, None], dtype=object)
    table = parquet.read_table(io.BytesIO(to_parquet(frame)))
    assert table["score"].to_pylist() == [10, 20, 30, None]
    assert table["seed"].to_pylist() == [0, 0, 0, 1]
    assert table["mixed"].to_pylist() == ["text", "3", None, None]
