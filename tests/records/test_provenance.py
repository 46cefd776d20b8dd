import getpass
import platform
import subprocess
import time
from pathlib import Path

import pytest

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
    monkeypatch.setattr(provenance.shutil, "which", lambda name: None)
    assert provenance.git_state() == Git(commit=None, dirty=None)


def test_nothing_names_the_owner_and_it_is_quick():
    provenance.collect()
    start = time.perf_counter()
    found = provenance.collect(
        arguments=[str(Path.home() / "bin" / "cqlbench"), f"results={Path.home()}/out"]
    )
    assert time.perf_counter() - start < 1.0
    assert found.command == ("cqlbench", "results=~/out")
    text = repr((found.machine, found.versions))
    for private in (platform.node(), str(Path.home()), f"/{getpass.getuser()}"):
        assert private not in text
    assert found.versions["cqlbench"]
    assert found.versions["numpy"]
    assert found.machine.cores >= 1
    assert found.machine.gpu is None
    assert found.created_at.endswith("+00:00")


@pytest.mark.parametrize("device", ["cpu", "auto", "cuda", "cuda:99", "cuda:x", "nonsense"])
def test_no_device_name_is_a_reason_to_stop(device):
    assert provenance.machine(device).cores >= 1


def test_a_module_run_is_given_as_a_command():
    assert provenance.command(["/x/cqlbench/cli.py", "bench"]) == ("python", "-m", "cqlbench.cli", "bench")
