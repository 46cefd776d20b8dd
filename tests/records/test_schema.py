import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_records import replace

from cqlbench.records.codec import from_json, to_json
from cqlbench.records.schema import Evaluation, RecordError, config_hash, diagnostics_row


def test_golden_record_of_version_1_loads_and_is_written_back_unchanged(golden_text):
    record = from_json(golden_text, "golden")
    assert record.key.dataset == "d4rl/hopper-medium-v2"
    assert record.evaluations[-1].returns == (1650.5, 1403.125)
    assert record.diagnostics[1] == {"step": 2000, "critic_loss": None, "conservative_gap": 2.75}
    assert record.machine.gpu is None
    assert (record.machine.device, record.machine.threads) == ("cpu", 2)
    assert (record.comparable, record.comparable_reason) == (False, "the budget is quick")
    assert to_json(record) == golden_text


def _changed(text, path, value):
    content = json.loads(text)
    inner = content
    for part in path[:-1]:
        inner = inner[part]
    if value is KeyError:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["schema_version"], 2, "update cqlbench"),
        (["schema_version"], "1", "schema_version"),
        (["schema_version"], 0, "schema_version"),
        (["seed"], KeyError, "seed"),
        (["seed"], True, r"\$\.seed"),
        (["seed"], -1, r"\$\.seed"),
        (["hostname"], "x", "hostname"),
        (["dataset", "rows"], 1.5, r"\$\.dataset\.rows"),
        (["comparable"], True, "comparable_reason"),
        (["comparable_reason"], "", "comparable_reason"),
        (["dataset", "behaviour_source"], None, "behaviour_source"),
        (["machine", "device"], KeyError, "`device` - at `\\$.machine`"),
        (["evaluations", 1, "returns", 0], "x", r"\$\.evaluations\[1\]\.returns\[0\]"),
        (["evaluations"], {}, "evaluations"),
        (["versions", "numpy"], 2, "versions"),
        (["status"], "done", "status"),
        (["config", "algorithm", "discount"], 0.98, "config_hash"),
        (["evaluations", 2, "scores", 0], 99.0, "its endpoints give 51.3"),
        (["evaluations", 2, "step"], 2000, "ascend"),
        (["evaluations", 2, "step"], 2999, "last evaluation"),
        (["seed"], 7, "seed_batch"),
        (["reason"], "because", "reason"),
        (["throughput"], None, "throughput"),
        (["evaluations", 0, "lengths"], [1], "lengths"),
    ],
)
def test_what_is_wrong_is_refused_and_names_the_file(golden_text, path, value, message):
    with pytest.raises(RecordError, match=message) as caught:
        from_json(_changed(golden_text, path, value), "some/file.json")
    assert str(caught.value).startswith("Record 'some/file.json' cannot be used: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema_version": NaN}', '"' * 3])
def test_what_is_not_a_strict_json_object_is_refused(text):
    with pytest.raises(RecordError, match="cannot be used"):
        from_json(text, "x.json")


def test_numbers_that_are_not_finite_become_null_where_that_is_allowed_and_are_refused_elsewhere(record):
    protocol = replace(record.protocol, episodes=2)
    evaluation = Evaluation.of(3000, np.array([np.nan, 3234.3]), [3, 4], np.array([np.inf, 100.0]), 1.0)
    assert evaluation.returns == (None, 3234.3)
    assert evaluation.scores == (None, 100.0)
    row = diagnostics_row(1, {"loss": np.float32("nan"), "gap": 2})
    assert row == {"step": 1, "loss": None, "gap": 2.0}
    kept = replace(record, protocol=protocol, evaluations=(evaluation,), diagnostics=(row,))
    assert from_json(to_json(kept), "x") == kept
    with pytest.raises(ValueError):
        to_json(replace(record, diagnostics=({"step": 1, "loss": math.nan},)))


def test_a_run_without_endpoints_has_returns_and_no_scores(record):
    protocol = replace(record.protocol, score_min=None, score_max=None, endpoints_source="none known")
    evaluation = Evaluation.of(3000, [1.0, 2.0], [3, 4], None, 1.0)
    kept = replace(record, protocol=protocol, evaluations=(evaluation,))
    assert kept.evaluations[0].scores == (None, None)
    assert from_json(to_json(kept), "x") == kept


def test_a_resumed_run_says_so_and_others_are_written_without_the_field(record):
    resumed = replace(record, resumed_at=(100, 2500))
    assert '"resumed_at": [100, 2500]' in to_json(resumed)
    assert from_json(to_json(resumed), "x") == resumed
    assert "resumed_at" not in to_json(record)
    with pytest.raises(RecordError, match="resumed_at"):
        from_json(_changed(to_json(resumed), ["resumed_at", 0], "x"), "x")


def test_a_skipped_run_needs_neither_protocol_nor_evaluations(record):
    facts = replace(record.dataset, content_hash=None, rows=None, episodes=None)
    skipped = replace(
        record,
        dataset=facts,
        protocol=None,
        evaluations=(),
        throughput=None,
        status="skipped",
        reason="no network",
    )
    assert from_json(to_json(skipped), "x") == skipped


def test_a_run_whose_dataset_has_no_environment_finishes_unevaluated_and_says_why(record):
    trained = replace(record, protocol=None, evaluations=(), reason="no environment is known")
    assert from_json(to_json(trained), "x") == trained
    with pytest.raises(ValueError, match="reason"):
        replace(record, protocol=None, evaluations=())
    with pytest.raises(ValueError, match="no protocol"):
        replace(trained, evaluations=record.evaluations)


def test_config_hash_known_value():
    # printf '{"a":1,"b":[0.5,true,null]}' | sha256sum
    assert config_hash({"b": (0.5, True, None), "a": 1.0}) == "bf7a9d41f8dd"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_config_hash_does_not_depend_on_key_order_or_on_a_trip_through_json(config):
    backwards = dict(reversed(config.items()))
    assert config_hash(config) == config_hash(backwards) == config_hash(json.loads(json.dumps(config)))


def test_config_hash_tells_values_apart_and_refuses_what_json_lacks():
    hashes = {config_hash({"x": value}) for value in (0, True, "0", None, 0.5, [], {}, [0])}
    assert len(hashes) == 8
    with pytest.raises(ValueError):
        config_hash({"x": math.inf})
    with pytest.raises(TypeError):
        config_hash({"x": {1: 2}})
    with pytest.raises(TypeError):
        config_hash({"x": object()})
