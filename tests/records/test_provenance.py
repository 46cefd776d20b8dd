import getpass
import platform
import subprocess
import time
from pathlib import Path

from cqlbench.records import provenance
from cqlbench.records.schema import Git


def _git(folder, *arguments):
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_git_state_of_a_clean_and_a_changed_checkout(tmp_path, monkeypatch):
    assert provenance.git_state(tmp_path) == Git(commit=None, dirty=None)
    _git(tmp_path, "init", "-q")
    assert provenance.git_state(tmp_path) == Git(commit=None, dirty=None)
    package = tmp_path / "cqlbench"
    package.mkdir()
    (package / "a.py").write_text("")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-qm", "first")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    clean = provenance.git_state(tmp_path)
    assert len(clean.commit) == 40
    assert clean.dirty is False
    (tmp_path / "notes.txt").write_text("cannot change a number")
    assert provenance.git_state(tmp_path) == clean
    (package / "new.py").write_text("can change a number")
    assert provenance.git_state(tmp_path) == Git(commit=clean.commit, dirty=True)
    assert provenance.git_state(package) == Git(commit=None, dirty=None)


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.git_state() == Git(commit=None, dirty=None)


def test_nothing_names_the_owner_and_it_is_quick():
    provenance.collect()
    start = time.perf_counter()
    found = provenance.collect(arguments=["bench", f"results={Path.home()}/out"])
    assert time.perf_counter() - start < 1.0
    assert found.command == ("cqlbench", "bench", "results=~/out")
    text = repr((found.machine, found.versions))
    for private in (platform.node(), str(Path.home()), f"/{getpass.getuser()}"):
        assert private not in text
    assert found.versions["cqlbench"]
    assert found.versions["numpy"]
    assert found.machine.cores >= 1
    assert found.machine.gpu is None
    assert found.machine.device == "cpu"
    assert found.machine.threads == found.machine.cores
    assert found.created_at.endswith("+00:00")


def test_the_command_is_the_programs_name_and_exactly_the_words_given(monkeypatch):
    words = ["bench", "dataset=a/b-v0", "seeds=[0,1]", "device=cpu", "algorithm.name=x y"]
    assert provenance.command(words) == ("cqlbench", *words)
    monkeypatch.setattr("sys.argv", ["/x/cqlbench/cli.py", "bench", "budget=smoke"])
    assert provenance.command() == ("cqlbench", "bench", "budget=smoke")


def test_only_a_path_that_begins_with_the_home_folder_gets_a_tilde(monkeypatch, tmp_path):
    (tmp_path / "ann").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "ann")
    home = tmp_path / "link"
    monkeypatch.setattr(Path, "home", lambda: home)
    real = tmp_path / "ann"
    texts = {
        f"{home}": "~",
        f"dataset={home}/x.hdf5": "dataset=~/x.hdf5",
        f"dataset='{real}/x.hdf5'": "dataset='~/x.hdf5'",
        f"[{home}/a,{real}/b]": "[~/a,~/b]",
        f"{home}abel/x": f"{home}abel/x",
        f"/mnt{home}/x": f"/mnt{home}/x",
    }
    assert {text: provenance.with_tilde(text) for text in texts} == texts
    monkeypatch.setattr(Path, "home", lambda: Path("/"))
    assert provenance.with_tilde("/x/y") == "/x/y"
