from pathlib import Path

import pytest

from cqlbench.core.errors import DatasetError
from cqlbench.core.paths import expanded, kind


def test_files_folders_and_nothing(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert kind(tmp_path) == "folder"
    assert kind(tmp_path / "a") == "file"
    for nothing in ("none", "a/below", "loop", "x" * 300, "nul\0", "surrogate\ud800"):
        assert kind(tmp_path / nothing) is None


def test_no_leave_to_look_is_one_sentence(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(DatasetError, match=r"a\.hdf5 cannot be looked at \(Permission denied\)"):
        kind(tmp_path / "a.hdf5")


def test_home_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/a") == tmp_path / "a"
    assert expanded("a") == Path("a")
    with pytest.raises(DatasetError, match="home folder in '~nouser/a' is not known"):
        expanded("~nouser/a")
