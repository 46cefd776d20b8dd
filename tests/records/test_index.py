import os
import time
from pathlib import Path

import pytest
from made_records import replace

from cqlbench.records.codec import to_json
from cqlbench.records.index import counting, lines_of
from cqlbench.records.schema import RecordError
from cqlbench.records.store import RecordStore, run_folder


@pytest.fixture
def store(tmp_path):
    return RecordStore(tmp_path)


def failed(record):
    return replace(record, status="failed", reason="Diverged.")


def test_a_line_per_record(store, record):
    store.write(record)
    store.write(failed(record))
    store.write(replace(record, seed=2))
    lines = lines_of(store)
    assert [(line.key.seed, line.rerun, line.result.status) for line in lines] == [
        (0, 1, "finished"), (0, 2, "failed"), (2, 1, "finished"),
    ]  # fmt: skip
    assert lines[0].run == run_folder(record.key)
    assert lines[0].result.last == pytest.approx((51.33615567345645 + 43.735310560261155) / 2)
    assert [store.read(store.runs / line.path) for line in counting(lines)] == store.find()


def test_the_newest_finished_counts_or_the_newest(store, record):
    for each in (
        failed(record),
        record,
        replace(record, created_at="2026-11-23T08:00:00+00:00"),
        failed(record),
    ):
        store.write(each)
    (line,) = counting(lines_of(store))
    assert line.rerun == 3
    (line,) = counting([line for line in lines_of(store) if line.rerun in (1, 4)])
    assert line.rerun == 4


def test_the_second_time_no_record_is_opened(store, record, monkeypatch):
    store.write(record)
    first = lines_of(store)
    monkeypatch.setattr(RecordStore, "read", lambda *_: pytest.fail("a record was opened"))
    assert lines_of(store) == first


def test_new_changed_and_deleted_records_are_noticed(store, record):
    path = store.write(record)
    lines_of(store)
    other = store.write(replace(record, seed=1))
    path.write_text(to_json(failed(record)))
    assert [(line.key.seed, line.result.status) for line in lines_of(store)] == [
        (0, "failed"),
        (1, "finished"),
    ]
    other.unlink()
    assert [line.key.seed for line in lines_of(store)] == [0]


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"layout": 0, "lines": []}', b'{"layout": 1, "lines": [{}]}', b"\xff"]
)
def test_a_damaged_index_is_made_again(store, record, content):
    store.write(record)
    whole = lines_of(store)
    index = store.runs / ".index.json"
    good = index.read_bytes()
    index.write_bytes(content)
    assert lines_of(store) == whole
    assert index.read_bytes() == good


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:1000],
        lambda text: text.replace('"schema_version": 1', '"schema_version": 2'),
        lambda text: text.replace('"seed": 0', '"seed": 1'),
    ],
)
def test_a_record_that_cannot_be_trusted_is_named_and_left_out(tmp_path, record, damage):
    named = []
    store = RecordStore(tmp_path, left_out=named.append)
    path = store.write(record)
    store.write(replace(record, seed=2))
    lines_of(store)
    path.write_text(damage(path.read_text()))
    for _ in range(2):
        assert [line.key.seed for line in lines_of(store)] == [2]
    assert [record.seed for record in store.find()] == [2]
    (error,) = named
    assert isinstance(error, RecordError)
    assert str(path) in str(error)


def test_a_folder_that_may_only_be_read_is_listed(store, record, monkeypatch):
    store.write(record)

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr("cqlbench.records.index.atomic.replace", refuse)
    assert len(lines_of(store)) == 1
    assert not (store.runs / ".index.json").exists()


def test_a_folder_that_is_none_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="cannot be listed"):
        lines_of(RecordStore(tmp_path / "file"))


def test_no_folder_is_no_lines(tmp_path):
    assert lines_of(RecordStore(tmp_path / "none")) == []


def test_a_thousand_records_are_listed_in_half_a_second(store, record):
    """A tenth of the 10,000 that must load in under 5 s."""
    text = to_json(record)
    for number in range(100):
        name = f"d4rl/x{number}-v2"
        folder = store.runs / run_folder(replace(record, dataset=replace(record.dataset, id=name)).key)
        folder.mkdir(parents=True)
        for seed in range(10):
            changed = text.replace('"d4rl/hopper-medium-v2"', f'"{name}"', 1).replace(
                '"seed": 0', f'"seed": {seed}'
            )
            batch = changed.replace('"seed_batch": [0, 1, 2]', f'"seed_batch": {list(range(10))}')
            Path(folder / f"seed-{seed}.json").write_text(batch)
    assert len(lines_of(store)) == 1000
    began = time.process_time()
    assert len(counting(lines_of(store))) == 1000
    assert time.process_time() - began < 0.5


def test_same_size_and_later_time_is_a_change(store, record):
    path = store.write(record)
    before = lines_of(store)
    path.write_text(path.read_text().replace("08:00:00", "09:00:00"))
    os.utime(path, ns=(0, before[0].changed + 1))
    assert lines_of(store)[0].created_at == "2026-11-22T09:00:00+00:00"
