import pytest

from cqlbench.core.errors import ConfigError
from cqlbench.records.filters import choose, counting_lines
from cqlbench.records.index import Line
from cqlbench.records.pooling import Origin
from cqlbench.records.schema import RecordError, RecordKey
from cqlbench.records.seed_result import SeedResult
from cqlbench.records.store import RecordStore


def line(
    dataset="embedded/hopper-medium-v0", algorithm="cql", budget="quick", made="2026-11-22T08:00:00+00:00"
):
    key = RecordKey(dataset, algorithm, budget, "d85c60ab3617", 0)
    origin = Origin(content_hash=None, protocol=None, dirty=False, torch=None, device="cpu")
    return Line("x", 1, 1, key, 1, made, False, origin, SeedResult(0, "finished", None), {})


LINES = [
    line(),
    line("d4rl/hopper-medium-v2", made="2026-11-21T23:59:00+00:00"),
    line("minari/mujoco/hopper/medium-v0", "bc", "paper", made="2026-11-20T08:00:00+00:00"),
]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], [0, 1, 2]),
        (["dataset=hopper-medium"], [0, 1]),
        (["dataset=mujoco/hopper/medium"], [2]),
        (["dataset=embedded/hopper-medium-v0"], [0]),
        (["dataset=*/hopper-*"], [0, 1]),
        (["dataset=hopper"], []),
        (["algorithm=bc"], [2]),
        (["budget=quick", "config=d85c"], [0, 1]),
        (["config=ffff"], []),
        (["config=ffff,d85c", "dataset=hopper-medium,minari/*", "algorithm=x,bc"], [2]),
        (["since=2026-11-21"], [0, 1]),
        (["until=2026-11-21"], [1, 2]),
        (["since=2026-11-22T08:00", "until=2026-11-22T08:00"], [0]),
        (["since=2026-11-22T08:00:00+02:00"], [0]),
        (["until=2026-11-22T09:00:00+02:00"], [1, 2]),
    ],
)
def test_filters(words, found):
    assert choose(LINES, dict(word.split("=") for word in words)) == [LINES[index] for index in found]


def test_a_date_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="since=yesterday is no date"):
        choose(LINES, {"since": "yesterday"})


def test_nothing_found_is_one_sentence(tmp_path, golden):
    with pytest.raises(RecordError, match="There are no records in"):
        counting_lines(tmp_path, {})
    RecordStore(tmp_path).write(golden)
    with pytest.raises(RecordError, match="has dataset=x budget=y; 'cqlbench results list"):
        counting_lines(tmp_path, {"budget": "y", "dataset": "x"})


@pytest.fixture
def golden():
    from pathlib import Path

    from cqlbench.records.codec import from_json

    path = Path(__file__).parents[1] / "golden" / "record_v1.json"
    return from_json(path.read_text(), path)
