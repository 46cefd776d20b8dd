"""A folder appears whole, or what was there stays. (Files: see the records' tests.)"""

from pathlib import Path

import pytest

from cqlbench.core import atomic


def fill(text: str):
    def into(folder: Path) -> None:
        (folder / "a").write_text(text)
        (folder / "sub").mkdir()
        (folder / "sub" / "b").write_text(text)

    return into


def test_a_folder_takes_the_place_of_the_old_one(tmp_path) -> None:
    for text in ("old", "new"):
        atomic.replace_folder(tmp_path / "deep" / "folder", fill(text))
    assert (tmp_path / "deep" / "folder" / "sub" / "b").read_text() == "new"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["folder"]


def test_a_folder_that_cannot_be_filled_leaves_the_old_one(tmp_path) -> None:
    atomic.replace_folder(tmp_path / "folder", fill("old"))

    def half(folder: Path) -> None:
        (folder / "a").write_text("new")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        atomic.replace_folder(tmp_path / "folder", half)
    assert (tmp_path / "folder" / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_cut_off_between_the_renames_the_old_folder_is_beside(tmp_path, monkeypatch) -> None:
    atomic.replace_folder(tmp_path / "folder", fill("old"))
    rename = Path.rename

    def cut_off(path: Path, target: Path) -> Path:
        if target == tmp_path / "folder":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", cut_off)
    with pytest.raises(KeyboardInterrupt):
        atomic.replace_folder(tmp_path / "folder", fill("new"))
    assert (atomic._previous(tmp_path / "folder") / "a").read_text() == "old"
