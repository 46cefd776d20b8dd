import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_records import replace

from cqlbench.core import atomic
from cqlbench.records.codec import to_json
from cqlbench.records.schema import RecordError, config_hash
from cqlbench.records.store import RecordStore, run_folder, safe_name, safe_path


def _for(record, seed=0, dataset=None, config=None, **changes):
    config = record.config if config is None else config
    facts = replace(record.dataset, id=dataset or record.dataset.id)
    return replace(
        record,
        seed=seed,
        seed_batch=(seed,),
        dataset=facts,
        config=config,
        config_hash=config_hash(config),
        **changes,
    )


def _failed(record):
    return replace(record, status="failed", reason="it diverged", evaluations=record.evaluations[:1])


def _visible(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_layout_and_round_trip(record, tmp_path):
    store = RecordStore(tmp_path / "results")
    assert store.find() == []
    path = store.write(record)
    expected = f"runs/d4rl/hopper-medium-v2/cql/quick-{record.config_hash}/seed-0.json"
    assert path == tmp_path / "results" / expected
    assert _visible(tmp_path / "results") == [expected]
    assert store.find() == [record]


def test_a_rerun_goes_beside_the_first_and_the_newest_finished_counts(record, tmp_path):
    store = RecordStore(tmp_path)
    first = store.write(_failed(record))
    assert [found.status for found in store.find()] == ["failed"]
    before = first.read_bytes()
    runs = [replace(record, created_at=f"2026-11-22T08:00:{n:02}+00:00") for n in range(10)]
    names = [store.write(run).name for run in runs]
    names.append(store.write(_failed(record)).name)
    assert names == [f"seed-0.run-{n}.json" for n in range(2, 13)]
    assert first.read_bytes() == before
    assert store.find() == [runs[-1]]
    assert list(store.history(record.key).values()) == [_failed(record), *runs, _failed(record)]


def test_a_run_is_held_if_the_same_one_has_filed_its_record(record, tmp_path):
    store = RecordStore(tmp_path)
    assert not store.holds(record)
    store.write(record)
    assert store.holds(replace(record, resumed_at=(3000,)))
    assert not store.holds(replace(record, created_at="2026-11-22T08:00:01+00:00"))
    assert not store.holds(replace(record, seed_batch=(0, 5)))
    assert not store.holds(_for(record, seed=1))


def test_find_narrows_by_every_part_of_the_key(record, tmp_path):
    store = RecordStore(tmp_path)
    other = {**record.config, "extra": 1}
    records = [
        _for(record, seed=1),
        _for(record, seed=10),
        _for(record, seed=2, dataset="minari/mujoco/hopper/medium-v0"),
        _for(record, seed=1, config=other),
        replace(_for(record, seed=1), budget=replace(record.budget, name="paper")),
        replace(_for(record, seed=1), algorithm="bc"),
    ]
    for item in records:
        store.write(item)
    assert len(store.find()) == 6
    assert {r.seed for r in store.find(algorithm="cql", budget="quick", config_hash=record.config_hash)} == {
        1,
        2,
        10,
    }
    assert store.find(dataset="minari/mujoco/hopper/medium-v0") == [records[2]]
    assert store.find(dataset="minari/mujoco/hopper") == []
    assert store.find(config_hash=config_hash(other)) == [records[3]]
    assert store.find(budget="paper") == [records[4]]
    assert store.find(algorithm="bc") == [records[5]]


ODD = ["/tmp/my data/[a]*.hdf5", "../../escape", "a//b", ".", "x:y", "ü-v0", "ü" * 100, "x/" + "a" * 255]


@pytest.mark.parametrize("dataset", ODD)
def test_any_dataset_id_has_its_own_folder_inside_the_store(record, tmp_path, dataset):
    store = RecordStore(tmp_path / "results")
    item = _for(record, dataset=dataset)
    path = store.write(item)
    assert path.resolve().is_relative_to((tmp_path / "results" / "runs").resolve())
    assert store.find(dataset=dataset) == [item]


def test_no_two_names_share_a_folder():
    names = ["a", "a/b", "a//b", "a%2Fb", ".", "%.", "..", "", "%", "a b", "a_b", "/a"]
    assert len({safe_name(name) for name in names}) == len(names)
    assert len({safe_path(name) for name in names}) == len(names)


@pytest.mark.parametrize("letter", ["a", "ü", "数", "%"])
def test_long_names_are_shortened_and_stay_apart(letter):
    names = [letter * 300, letter * 301, letter * 300 + "x", "y" + letter * 300]
    names += [safe_name(name) for name in names]
    short = [safe_name(name) for name in names]
    assert len(set(short)) == len(short)
    assert all(len(name.encode()) <= 120 for name in short)
    assert safe_name("a" * 120) == "a" * 120
    assert safe_path(f"x/{letter * 300}/y") == f"x/{short[0]}/y"


def test_a_slash_in_an_algorithm_or_a_budget_starts_no_other_runs_folder(record):
    pairs = [("x/y", "z", "b"), ("x", "y/z", "b"), ("x", "y", "z/b"), ("x", "y/z/b", "b")]
    folders = {
        run_folder(replace(record.key, dataset=dataset, algorithm=algorithm, budget=budget))
        for dataset, algorithm, budget in pairs
    }
    assert len(folders) == len(pairs)


def test_a_file_that_lies_in_anothers_place_is_refused(record, tmp_path):
    store = RecordStore(tmp_path)
    path = store.write(record)
    path.rename(path.with_name("seed-1.json"))
    with pytest.raises(RecordError, match=r"seed-1\.json.*lies in another record's place"):
        store.read(path.with_name("seed-1.json"))
    assert store.find() == []


def test_a_damaged_file_is_named(record, tmp_path):
    store = RecordStore(tmp_path)
    path = store.write(record)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RecordError, match=str(path)):
        store.read(path)
    path.write_bytes(b"\xff")
    with pytest.raises(RecordError, match="cannot be used"):
        store.read(path)


def test_a_damaged_file_hides_no_other_and_is_made_again_beside_it(record, tmp_path, capsys):
    store = RecordStore(tmp_path)
    path, other = store.write(record), replace(record, seed=1)
    store.write(other)
    path.write_bytes(path.read_bytes()[:100])
    assert store.find() == [other]
    assert not store.holds(record)
    assert str(path) in capsys.readouterr().err
    assert store.path_of(other).name == "seed-1.json"
    again = store.write(record)
    assert (again.name, store.path_of(record)) == ("seed-0.run-2.json", again)
    assert store.find() == [record, other]


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_write_that_fails_leaves_nothing_behind(record, tmp_path, monkeypatch, call):
    store = RecordStore(tmp_path)

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    if call == "link":
        monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(RecordError, match=r"seed 0 cannot be written to .*No space left on device"):
        store.write(record)
    monkeypatch.undo()
    assert [name for name in _visible(tmp_path) if not name.endswith(".lock")] == []
    assert store.write(record).name == "seed-0.json"


def test_a_failed_replacement_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "table.md"
    atomic.replace(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(5, "I/O error")))
    with pytest.raises(OSError):
        atomic.replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert _visible(tmp_path) == ["table.md"]


KILLED = """
import os, signal, sys
from pathlib import Path
from cqlbench.records.codec import from_json
from cqlbench.records.store import RecordStore
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
RecordStore(sys.argv[1]).write(from_json(Path(sys.argv[2]).read_text(), "golden"))
"""


def test_a_writer_killed_half_way_leaves_no_record_and_no_hindrance(record, tmp_path, golden_text):
    golden = tmp_path / "golden.json"
    golden.write_text(golden_text)
    results = tmp_path / "results"
    done = subprocess.run([sys.executable, "-c", KILLED, str(results), str(golden)], check=False)
    assert done.returncode == -9
    store = RecordStore(results)
    assert store.find() == []
    assert store.write(record).name == "seed-0.json"
    assert store.find() == [record]


def test_without_hard_links_nothing_is_overwritten_either(record, tmp_path, monkeypatch):
    def unsupported(*arguments):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", unsupported)
    store = RecordStore(tmp_path)
    assert [store.write(record).name for _ in range(3)] == [
        "seed-0.json",
        "seed-0.run-2.json",
        "seed-0.run-3.json",
    ]
    with pytest.raises(FileExistsError):
        atomic.create(tmp_path / _visible(tmp_path)[-1], b"other")
    assert len(store.history(record.key)) == 3


def _write_many(folder, golden, barrier, count):
    from cqlbench.records.codec import from_json

    store, record = RecordStore(folder), from_json(golden, "golden")
    barrier.wait()
    for number in range(count):
        store.write(replace(record, command=(str(os.getpid()), str(number))))


def test_processes_that_write_the_same_key_lose_nothing(record, tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    arguments = (tmp_path, to_json(record), barrier, 20)
    workers = [context.Process(target=_write_many, args=arguments) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    history = RecordStore(tmp_path).history(record.key).values()
    assert len({item.command for item in history}) == len(history) == 40


def test_check_writable(tmp_path):
    RecordStore(tmp_path / "new").check_writable()
    assert _visible(tmp_path) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"Results folder .*file' cannot be written .*results=<folder>"):
        RecordStore(tmp_path / "file").check_writable()


def test_files_are_strict_json_and_readable_by_others(record, tmp_path):
    path = RecordStore(tmp_path).write(record)
    assert json.loads(path.read_text())["schema_version"] == 1
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
