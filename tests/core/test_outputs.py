"""Commands replace and delete what they wrote themselves, and nothing else."""

import json
import threading
from pathlib import Path

import pytest

from cqlbench.core import atomic, outputs
from cqlbench.core.errors import ConfigError

FILES = {"report.md": b"one", "tables/a.csv": b"1", "tables/b.csv": b"2"}
MANIFEST = ".cqlbench-report.json"


def write(folder: Path, files: dict[str, bytes], **options: bool) -> None:
    outputs.write_folder(folder, files, "report", "output", **options)


def contents(folder: Path) -> dict[str, bytes]:
    """Everything in the folder but what `outputs` keeps for itself."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".cqlbench-")
    }


def test_own_files_are_replaced_and_stale_ones_go(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    assert contents(tmp_path) == FILES
    write(tmp_path, {"report.md": b"two"})
    assert contents(tmp_path) == {"report.md": b"two"}
    write(tmp_path, FILES)
    assert contents(tmp_path) == FILES


def test_files_of_others_stay(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    theirs = {"tables/mine.csv": b"mine", "plots.pdf": b"mine"}
    for name, content in theirs.items():
        (tmp_path / name).write_bytes(content)
    write(tmp_path, FILES)
    (tmp_path / "tables" / "b.csv").write_bytes(b"annotated")
    write(tmp_path, {"report.md": b"two"})
    assert contents(tmp_path) == theirs | {"report.md": b"two", "tables/b.csv": b"annotated"}


@pytest.mark.parametrize("place", ["tables/b.csv", "tables", "report.md/inside", "dangling"])
@pytest.mark.parametrize("again", [False, True])
def test_a_file_in_the_way_is_refused_before_anything_is_written(
    tmp_path: Path, place: str, again: bool
) -> None:
    if again:
        write(tmp_path, {"other": b"ours"})
    if place == "dangling":
        (tmp_path / "report.md").symlink_to(tmp_path / "nowhere")
    else:
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_bytes(b"theirs")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="output="):
        write(tmp_path, FILES)
    assert sorted(tmp_path.rglob("*")) == before
    assert place == "dangling" or (tmp_path / place).read_bytes() == b"theirs"


def test_a_file_that_was_changed_since_is_refused(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    (tmp_path / "report.md").write_bytes(b"annotated")
    with pytest.raises(ConfigError, match=r"report\.md"):
        write(tmp_path, FILES | {"report.md": b"two"})
    assert contents(tmp_path) == FILES | {"report.md": b"annotated"}


def test_a_file_of_the_very_content_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "report.md").write_bytes(b"one")
    write(tmp_path, FILES)
    assert contents(tmp_path) == FILES


def test_commands_have_manifests_of_their_own(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    outputs.write_folder(tmp_path, {"gate.md": b"gate"}, "gate", "output")
    write(tmp_path, {"report.md": b"two"})
    assert contents(tmp_path) == {"report.md": b"two", "gate.md": b"gate"}
    with pytest.raises(ConfigError):
        outputs.write_folder(tmp_path, {"report.md": b"gate"}, "gate", "output")


def test_figures_of_several_calls_stay(tmp_path: Path) -> None:
    for name in ("a", "b", "a"):
        write(tmp_path, {name: b"1"}, complete=False)
    assert contents(tmp_path) == {"a": b"1", "b": b"1"}
    write(tmp_path, {"b": b"2"})
    assert contents(tmp_path) == {"b": b"2"}


@pytest.mark.parametrize("text", ["", "{}", '{"written": {"report.md": 3}}', "[1]", "\xff"])
def test_of_a_damaged_manifest_nothing_is_believed(tmp_path: Path, text: str) -> None:
    write(tmp_path, FILES)
    (tmp_path / MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError):
        write(tmp_path, FILES | {"report.md": b"two"})
    assert contents(tmp_path) == FILES


@pytest.mark.parametrize("name", ["../outside", "/outside"])
def test_a_manifest_never_leads_outside(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"one")
    place = str(outside) if name.startswith("/") else name
    write(tmp_path / "inside", FILES)
    manifest = tmp_path / "inside" / MANIFEST
    written = json.loads(manifest.read_text())["written"]
    manifest.write_text(json.dumps({"written": written | {place: written["report.md"]}}))
    write(tmp_path / "inside", FILES)
    assert outside.exists()


@pytest.mark.parametrize("name", list(FILES))
def test_cut_off_anywhere_the_next_call_knows_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write(tmp_path, {"report.md": b"old", "tables/a.csv": b"old", "stale": b"old"})
    replace = atomic.replace

    def cut_off(path: Path, content: bytes) -> None:
        if path == tmp_path / name:
            raise KeyboardInterrupt
        replace(path, content)

    monkeypatch.setattr(atomic, "replace", cut_off)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, FILES)
    monkeypatch.setattr(atomic, "replace", replace)
    write(tmp_path, FILES)
    assert contents(tmp_path) == FILES


def test_two_writers_at_once_leave_the_files_of_one(tmp_path: Path) -> None:
    versions = [{f"{n}": bytes([version]) for n in range(5)} for version in range(4)]
    failed = []

    def repeat(files: dict[str, bytes]) -> None:
        try:
            for _ in range(5):
                write(tmp_path, files)
        except ConfigError as error:
            failed.append(error)

    threads = [threading.Thread(target=repeat, args=(files,)) for files in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert contents(tmp_path) in versions


def test_equal_files_give_equal_manifests(tmp_path: Path) -> None:
    write(tmp_path / "a", FILES)
    write(tmp_path / "b", {"tables/b.csv": b"", "x": b""})
    write(tmp_path / "b", dict(reversed(FILES.items())))
    assert (tmp_path / "a" / MANIFEST).read_bytes() == (tmp_path / "b" / MANIFEST).read_bytes()


def test_a_single_file_is_only_replaced_when_asked_to(tmp_path: Path) -> None:
    path = tmp_path / "new" / "all.csv"
    outputs.write_file(path, b"one", overwrite=False)
    for check in (outputs.check_file, lambda *args: outputs.write_file(path, b"two", args[1])):
        with pytest.raises(ConfigError, match="overwrite=true"):
            check(path, False)
    assert path.read_bytes() == b"one"
    outputs.write_file(path, b"two", overwrite=True)
    assert path.read_bytes() == b"two"
    with pytest.raises(ConfigError, match="cannot be written"):  # a file where the folder should be
        outputs.write_file(path / "below", b"", overwrite=False)
