"""States in files and folders: whole, read back as they were, or refused in a sentence."""

from pathlib import Path

import pytest
import torch

from cqlbench.errors import ConfigError
from cqlbench.training.state_files import check_writable, read_state, write_state

STATE = {
    "state": {"steps": 3, "rate": 0.1, "limit": float("inf"), "none": None, "flag": True, "text": "é"},
    "tensors": {1: torch.arange(3), "bits": torch.tensor([True]), "scalar": torch.tensor(2.5)},
    "list": [1, (2, torch.zeros(2, 2, dtype=torch.uint8)), {}],
    "size": torch.Size([2, 3]),
    "device": torch.device("cpu"),
}


def equal(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b) and a.dtype == b.dtype
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return a == b and type(a) is type(b)


@pytest.mark.parametrize("backend", ["torch", "memmap"])
def test_a_state_is_read_back_as_it_was(tmp_path, monkeypatch, backend) -> None:
    monkeypatch.setenv("CKPT_BACKEND", backend)
    write_state(tmp_path / "new" / "t", {"state": {}})
    write_state(tmp_path / "new" / "t", STATE)
    monkeypatch.delenv("CKPT_BACKEND")
    assert (tmp_path / "new" / "t").is_dir() == (backend == "memmap")
    assert equal(read_state(tmp_path / "new" / "t"), STATE)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["t"]


def test_a_folder_cut_off_between_two_renames_is_found(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CKPT_BACKEND", "memmap")
    write_state(tmp_path / "t", STATE)
    (tmp_path / "t").rename(tmp_path / ".t.previous")
    assert equal(read_state(tmp_path / "t"), STATE)


@pytest.mark.parametrize("content", [b"", b"nonsense", "half", "other"])
def test_a_torn_or_foreign_file_is_one_sentence(tmp_path, content) -> None:
    path = tmp_path / "t.pt"
    write_state(path, STATE)
    if content == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif content == "other":
        torch.save({"weights": torch.zeros(2)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"t\.pt is not a saved trainer"):
        read_state(path)


def test_a_torn_folder_is_one_sentence(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CKPT_BACKEND", "memmap")
    write_state(tmp_path / "t", STATE)
    (tmp_path / "t" / "state.json").write_text('{"dict": [')
    with pytest.raises(ConfigError, match="t is not a saved trainer"):
        read_state(tmp_path / "t")


def test_nothing_there_is_one_sentence(tmp_path) -> None:
    with pytest.raises(ConfigError, match="There is no saved trainer at"):
        read_state(tmp_path / "t.pt")


def test_an_unknown_backend_is_one_sentence(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CKPT_BACKEND", "torchsnapshot")
    with pytest.raises(ConfigError, match="CKPT_BACKEND is 'torchsnapshot'"):
        write_state(tmp_path / "t.pt", STATE)


def test_what_memmap_cannot_keep_is_one_sentence_and_leaves_the_old_state(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CKPT_BACKEND", "memmap")
    write_state(tmp_path / "t", STATE)
    with pytest.raises(ConfigError, match="holds a set"):
        write_state(tmp_path / "t", {"state": {1, 2}})
    assert equal(read_state(tmp_path / "t"), STATE)
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_a_place_that_cannot_be_written_is_found_before(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    for path, reason in (
        (tmp_path / "file" / "t.pt", "File exists|Not a directory"),
        (tmp_path, "that is a folder"),
        (Path(), "names no file"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        with pytest.raises(ConfigError, match=f"cannot be saved at .*({reason})"):
            check_writable(path)
    check_writable(tmp_path / "t.pt")
    check_writable(tmp_path, folder=True)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    monkeypatch.setenv("CKPT_BACKEND", "other")
    with pytest.raises(ConfigError, match="CKPT_BACKEND is 'other'"):
        check_writable(tmp_path / "t.pt")
