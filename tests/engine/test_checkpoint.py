"""A checkpoint is whole, of the right run, and exact, or it is refused."""

import errno
import hashlib
import io
import math
import os
import pickle
from pathlib import Path

import pytest
import torch

from cqlbench.engine.checkpoint import (
    FORMAT,
    CheckpointError,
    CheckpointFolder,
    OtherRunError,
    differences,
    load,
    load_fitting,
    save,
)
from cqlbench.engine.engine import Engine

FACTS = {"algorithm": {"name": "cql", "weight": 5.0}, "seeds": [0, 1], "dataset": {"hash": "ab"}}


def state(step: int = 3) -> dict:
    generator = torch.Generator().manual_seed(step)
    return {
        "step": step,
        "weights": {"0": torch.randn(2, 3, generator=generator), "alive": torch.tensor([True, False])},
        "history": [{"returns": [[1.0, math.nan], [0.1, -math.inf]], "finite": [True], "note": None}],
    }


def test_what_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "new" / "one.checkpoint"
    save(path, state(), FACTS)
    found, facts = load(path)
    assert facts == FACTS
    assert torch.equal(found["weights"]["0"], state()["weights"]["0"])
    assert found["weights"]["alive"].tolist() == [True, False]
    assert repr(found["history"]) == repr(state()["history"])
    assert [each.name for each in path.parent.iterdir()] == ["one.checkpoint"]


def test_a_trained_engine_goes_on_exactly(tmp_path: Path, make_engine) -> None:
    whole, first, second = make_engine(), make_engine(), make_engine()
    for step in range(7):
        whole.step(step)
    for step in range(4):
        first.step(step)
    save(tmp_path / "engine", first.state_dict(), {})
    second.load_state_dict(load(tmp_path / "engine")[0])
    for step in range(4, 7):
        second.step(step)
    assert all(map(torch.equal, whole.state.tensors(), second.state.tensors()))
    assert whole.drain_diagnostics() == second.drain_diagnostics()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("stop", [16, 23, 64])
def test_chunks_in_a_cuda_graph_go_on_exactly(tmp_path: Path, make_engine, stop: int) -> None:
    def advance(engine: Engine, step: int, end: int) -> None:
        while step < end:
            step += engine.advance(step, end - step)

    device = torch.device("cuda:0")
    whole, first, second = (make_engine(device=device) for _ in range(3))
    advance(whole, 0, 100)
    advance(first, 0, stop)
    save(tmp_path / "engine", first.state_dict(), {})
    second.load_state_dict(load(tmp_path / "engine")[0])
    advance(second, stop, 100)
    assert all(map(torch.equal, whole.state.tensors(), second.state.tensors()))
    assert whole.drain_diagnostics() == second.drain_diagnostics()


def test_every_torn_or_altered_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.checkpoint"
    save(path, {"weight": torch.ones(3)}, FACTS)
    content = path.read_bytes()
    for length in {0, 1, 20, 21, 22, 40, 53, 54, len(content) // 2, len(content) - 1}:
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"not a checkpoint|damaged|format"):
            load(path)
    for position in range(0, len(content), 37):
        altered = bytearray(content)
        altered[position] ^= 1 << position % 8
        path.write_bytes(altered)
        with pytest.raises(CheckpointError, match=r"not a checkpoint|damaged|format"):
            load(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(CheckpointError, match="damaged"):
        load(path)
    path.write_bytes(content)
    load(path)


def with_checksum(body: bytes) -> bytes:
    return b"cqlbench checkpoint %d\n" % FORMAT + hashlib.blake2b(body, digest_size=32).digest() + body


class Malicious:
    def __reduce__(self) -> tuple:
        return os.system, ("true",)


def malicious() -> bytes:
    buffer = io.BytesIO()
    torch.save({"state": Malicious(), "facts": {}}, buffer)
    return buffer.getvalue()


def torchs_own() -> bytes:
    buffer = io.BytesIO()
    torch.save({"state": {}, "facts": {}}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (torchs_own(), "not a checkpoint"),
        (b"cqlbench checkpoint 1\n" + b"x" * 99, "format"),
        (with_checksum(malicious()), "holds what no checkpoint"),
        (with_checksum(pickle.dumps([1], 2)), "holds what no checkpoint"),
        (with_checksum(b"nonsense"), "holds what no checkpoint"),
    ],
)
def test_foreign_files_are_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "foreign"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=sentence):
        load(path)


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file"):
        load(tmp_path / "none")


def test_differences_are_named() -> None:
    theirs = {"algorithm": {"name": "cql", "weight": 10.0}, "seeds": [0], "old": 1}
    assert differences(theirs, FACTS) == [
        "algorithm.weight is 5.0 here and 10.0 there",
        "dataset.hash is ab here and absent there",
        "old is absent here and 1 there",
        "seeds is [0, 1] here and [0] there",
    ]
    assert differences(FACTS, FACTS) == []


def test_another_runs_checkpoint_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "one", state(), FACTS)
    with pytest.raises(OtherRunError, match="seeds"):
        load_fitting(tmp_path / "one", FACTS | {"seeds": [2]})


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    for step in (9, 10, 100, 1000):
        folder.save(step, state(step), FACTS)
    assert [path.name for path in folder.paths()] == [
        "step-000000000100.checkpoint",
        "step-000000001000.checkpoint",
    ]
    assert folder.newest(FACTS).state["step"] == 1000
    folder.save(100, state(100), FACTS)
    assert [load(path)[0]["step"] for path in folder.paths()] == [100]


@pytest.mark.parametrize("damage", ["torn", "foreign", "of another run"])
def test_the_one_before_is_used(tmp_path: Path, damage: str) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(1, state(1), FACTS)
    last = folder.save(2, state(2), FACTS)
    if damage == "torn":
        last.write_bytes(last.read_bytes()[:-1])
    elif damage == "foreign":
        last.write_bytes(b"PK")
    else:
        save(last, state(2), FACTS | {"seeds": [7]})
    found = folder.newest(FACTS)
    assert found.state["step"] == 1
    assert len(found.refused) == 1
    assert str(last) in found.refused[0]
    # What was refused does not outlive the next save, nor push a good one out.
    folder.save(2, state(2), FACTS)
    assert [load(path)[0]["step"] for path in folder.paths()] == [1, 2]


def test_without_a_whole_one_there_is_none_and_it_is_said(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "folder")
    assert folder.newest(FACTS).path is None
    folder.save(1, state(), FACTS).write_bytes(b"")
    found = folder.newest(FACTS)
    assert found.path is None
    assert len(found.refused) == 1


def test_whole_ones_that_do_not_fit_are_an_error(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(1, state(), FACTS)
    with pytest.raises(OtherRunError, match=r"algorithm\.weight"):
        folder.newest(FACTS | {"algorithm": {"name": "cql", "weight": 1.0}})


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_disk_keeps_what_was_there(tmp_path: Path, monkeypatch, call: str) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(1, state(1), FACTS)
    folder.save(2, state(2), FACTS)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr(os, call, fail)
        with pytest.raises(CheckpointError, match="No space left"):
            folder.save(3, state(3), FACTS)
    assert [load(path)[0]["step"] for path in folder.paths()] == [1, 2]
    assert len(list(tmp_path.iterdir())) == 2


def test_one_process_at_a_time_and_nothing_half_written_stays(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".step-000000000001.checkpoint.0123.tmp").write_bytes(b"half")
    with folder.alone():
        assert list(folder.folder.glob("*.tmp")) == []
        assert list(folder.folder.glob(".step*")) == []
        with pytest.raises(CheckpointError, match="Another process"), CheckpointFolder(folder.folder).alone():
            pass
        folder.save(1, state(), FACTS)
    assert [path.name for path in folder.paths()] == ["step-000000000001.checkpoint"]
    (folder.folder / "notes.txt").touch()
    with folder.alone():
        folder.clear()
    assert [path.name for path in folder.folder.iterdir()] == ["notes.txt"]
    (folder.folder / "notes.txt").unlink()
    with folder.alone():
        pass
    assert not folder.folder.exists()
