"""States in files: whole, read back as they were, or refused in a sentence."""

import zipfile
from pathlib import Path

import pytest
import torch
from torchrl.checkpoint import Checkpoint

from cqlbench.core.errors import ConfigError
from cqlbench.trainer.state_files import check_writable, read_state, write_state

STATE = {
    "state": {"_optim_count": 3, "rate": 0.1, "limit": float("inf"), "none": None, "flag": True, "text": "é"},
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


def test_a_state_is_read_back_as_it_was(tmp_path) -> None:
    path = tmp_path / "new" / "t"
    path.parent.mkdir()
    path.touch()  # an empty file may be replaced
    write_state(path, {"state": {"_optim_count": 0}})
    write_state(path, STATE)
    assert equal(read_state(path), STATE)
    assert list(path.parent.iterdir()) == [path]


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


def test_nothing_there_is_one_sentence(tmp_path) -> None:
    with pytest.raises(ConfigError, match="There is no saved trainer at"):
        read_state(tmp_path / "t.pt")


def test_a_place_that_cannot_be_written_is_found_before(tmp_path) -> None:
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
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def _saved_by_torchrl(path: Path, **arguments: object) -> None:
    Checkpoint(**arguments).register("part", torch.nn.Linear(1, 1)).save(path)


def _contents(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("kind", ["text", "weights", "zip", "optimizer", "folder"])
def test_a_file_that_is_no_saved_trainer_is_never_replaced(tmp_path, kind) -> None:
    path = tmp_path / "t.pt"
    if kind == "folder":
        path.mkdir()
        (path / "thesis.tex").write_text("years of work")
    elif kind == "text":
        path.write_text("years of work")
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("thesis.tex", "years of work")
    else:
        module = torch.nn.Linear(2, 2)
        torch.save(
            module.state_dict() if kind == "weights" else torch.optim.Adam(module.parameters()).state_dict(),
            path,
        )
    before = _contents(tmp_path)
    for save in (check_writable, lambda path: write_state(path, STATE)):
        with pytest.raises(ConfigError, match=r"not a saved trainer|is a folder"):
            save(path)
    assert _contents(tmp_path) == before


def test_torchrls_checkpoints_may_be_replaced_unless_something_lies_in_them(tmp_path) -> None:
    _saved_by_torchrl(tmp_path / "folder")
    _saved_by_torchrl(tmp_path / "archive", format="archive")
    (tmp_path / "empty").mkdir()
    for name in ("folder", "archive", "empty"):
        check_writable(tmp_path / name, folder=True)
    (tmp_path / "folder" / "notes.txt").touch()
    with pytest.raises(ConfigError, match="not a saved trainer"):
        check_writable(tmp_path / "folder", folder=True)
