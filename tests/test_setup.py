"""From a clone to a working command: Makefile, choice of a Python, lock, wheel, documents."""

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import cqlbench

ROOT = Path(__file__).resolve().parent.parent
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(*command: str | Path, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def fake_python(folder: Path, name: str, version: str) -> Path:
    """A program that answers as a Python of that version would."""
    major, minor, _ = version.split(".")
    path = folder / name
    path.write_text(
        "#!/bin/sh\n"
        f'case "$2" in *print*) echo "Python {version}" ;; *"(3, 11)"*)'
        f" [ {major} -gt 3 ] || [ {minor} -ge 11 ] ;; esac\n"
    )
    path.chmod(0o755)
    return path


def one_sentence(text: str) -> bool:
    return text.count("\n") == 1 and "Traceback" not in text


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that `make` reads, with a stand-in for the slow part: it says what it was asked and stops."""
    folder = tmp_path / "a checkout"
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "scripts" / "bootstrap.py").write_text("import sys; sys.exit('setup begins')")
    return folder


@pytest.mark.parametrize("version", ["2.7.18", "3.6.9", "3.10.14"])
def test_an_old_python_is_refused_in_one_sentence(tmp_path: Path, version: str) -> None:
    old = fake_python(tmp_path, "python", version)
    answer = run("sh", ROOT / "scripts" / "find_python.sh", old)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert one_sentence(answer.stderr)
    assert "3.11 or newer" in answer.stderr
    assert version in answer.stderr


def test_a_python_that_is_not_there_is_refused_in_one_sentence() -> None:
    answer = run("sh", ROOT / "scripts" / "find_python.sh", "/no/such/python")
    assert answer.returncode == 2
    assert one_sentence(answer.stderr)


def test_no_fitting_python_on_the_path_is_one_sentence(tmp_path: Path) -> None:
    fake_python(tmp_path, "python3", "3.9.2")
    answer = run("/bin/sh", ROOT / "scripts" / "find_python.sh", "", PATH=str(tmp_path))
    assert answer.returncode == 2
    assert one_sentence(answer.stderr)
    assert "3.9.2" in answer.stderr


def test_a_broken_or_old_candidate_is_passed_over(tmp_path: Path) -> None:
    fake_python(tmp_path, "python3.11", "3.10.1")
    fake_python(tmp_path, "python3.12", "3.12.1")
    answer = run("/bin/sh", ROOT / "scripts" / "find_python.sh", "", PATH=str(tmp_path))
    assert (answer.returncode, answer.stdout) == (0, "python3.12\n")


@needs_make
def test_make_with_an_old_python_says_so_and_makes_nothing(checkout: Path) -> None:
    old = fake_python(checkout, "python", "3.8.0")
    answer = run("make", "test", f"PYTHON={old}", folder=checkout)
    assert answer.returncode == 2
    assert answer.stderr.startswith("cqlbench needs Python 3.11 or newer, and PYTHON=")
    assert "setup begins" not in answer.stderr
    assert not (checkout / ".venv").exists()


@needs_make
@pytest.mark.parametrize("jobs", ["-j1", "-j4"])
def test_bench_without_a_dataset_stops_before_the_setup(checkout: Path, jobs: str) -> None:
    answer = run("make", jobs, "bench", f"PYTHON={sys.executable}", folder=checkout)
    assert answer.returncode == 2
    assert answer.stderr.startswith("DATASET is missing;")
    assert "setup begins" not in answer.stderr


@needs_make
@pytest.mark.parametrize("target", ["paper SUITE=x", "report"])
def test_algorithms_are_passed_on(checkout: Path, target: str) -> None:
    answer = run("make", "-n", *target.split(), "ALGORITHM=bc,iql", folder=checkout)
    assert "'algorithm=bc,iql'" in answer.stdout


@needs_make
@pytest.mark.parametrize("target", ["setup", "check", "test", "fix", "lock", "bench"])
def test_every_command_sets_up_by_itself(checkout: Path, target: str) -> None:
    answer = run("make", target, "DATASET=x", f"PYTHON={sys.executable}", folder=checkout)
    assert answer.returncode == 2
    assert "setup begins" in answer.stderr


@needs_make
def test_bench_passes_on_what_is_set_and_nothing_else(checkout: Path) -> None:
    command = ["make", "-n", "-o", "requirements.lock", "bench", f"PYTHON={sys.executable}"]
    bare = run(*command, "DATASET=/a b/it's.hdf5", folder=checkout).stdout.splitlines()[-1]
    assert bare.strip() == r".venv/bin/cqlbench bench 'dataset=/a b/it'\''s.hdf5'"
    settings = [
        "SOURCE=d4rl",
        "ALGORITHM=iql",
        "BUDGET=quick",
        "SEEDS=0,1,2",
        "STEPS=5",
        "DEVICE=cpu",
        "RESULTS=r",
        "ARGS=a.b=1 c=2",
    ]
    full = run(*command, "DATASET=x", *settings, folder=checkout).stdout.splitlines()[-1]
    words = (
        "'source=d4rl' 'algorithm=iql' 'budget=quick' 'seeds=0,1,2' 'steps=5' 'device=cpu' 'results=r'"
        " a.b=1 c=2"
    )
    assert full == f".venv/bin/cqlbench bench 'dataset=x' {words}"


@needs_make
def test_help_lists_every_target_and_only_those(checkout: Path) -> None:
    shown = re.findall(r"^  make (\w+)  ", run("make", folder=checkout).stdout, re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    assert sorted(shown) == sorted(set(phony[1].split()) - {"named"})


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "tests/README.md", ".ci/run"])
def test_documents_name_only_commands_that_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`)(?:[A-Z_]+=\S+ )*make ([a-z]+)", text, re.MULTILINE))
    assert named
    assert {target for target in named if not re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)} == set()


@pytest.fixture
def bootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The real setup, with nothing installed: each call of pip and of venv is written down instead."""
    module = script("bootstrap")
    done: list[str] = []

    def create(folder: Path) -> None:
        done.append("create")
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").touch()

    monkeypatch.setattr(module, "_create", create)
    monkeypatch.setattr(module, "_pip", lambda python, *arguments: done.append(arguments[0]))
    module.done = done
    return module


def test_a_setup_is_made_once(bootstrap: ModuleType, tmp_path: Path) -> None:
    ready = tmp_path / ".venv" / ".ready"
    bootstrap.main(ready)
    bootstrap.main(ready)
    torch = next(
        line for line in (ROOT / "requirements.lock").read_text().splitlines() if line.startswith("torch==")
    )
    assert bootstrap.done == ["create", torch, "-r", "--no-deps"]


def test_a_setup_that_was_cut_off_is_begun_again(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = tmp_path / ".venv" / ".ready"

    def cut_off(python: Path, *arguments: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bootstrap, "_pip", cut_off)
        with pytest.raises(KeyboardInterrupt):
            bootstrap.main(ready)
    assert not ready.exists()
    shutil.rmtree(ready.parent)
    bootstrap.main(ready)
    assert bootstrap.done[:2] == ["create", "create"]
    assert ready.exists()


def test_a_changed_lock_refreshes_and_a_moved_checkout_starts_anew(
    bootstrap: ModuleType, tmp_path: Path
) -> None:
    ready = tmp_path / ".venv" / ".ready-1"
    bootstrap.main(ready)
    ready.write_text("of another lock")
    bootstrap.done.clear()
    bootstrap.main(ready)
    assert "create" not in bootstrap.done
    shutil.rmtree(ready.parent / "bin")
    moved = ready.with_name(".ready-2")
    bootstrap.main(moved)
    assert "create" in bootstrap.done
    assert [path.name for path in ready.parent.glob(".ready*")] == [".ready-2"]


def pins() -> dict[str, Requirement]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in found}


def test_the_lock_holds_exact_versions_and_nothing_of_a_machine() -> None:
    for pin in pins().values():
        assert pin.url is None
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), f"{pin}: one exact version, no local build"
    assert not re.search(r"://|^-|\s@\s|nvidia-|\+", (ROOT / "requirements.lock").read_text(), re.MULTILINE)


def test_the_lock_meets_every_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for text in project["dependencies"] + project["optional-dependencies"]["dev"]:
        declared = Requirement(text)
        pin = pins()[canonicalize_name(declared.name)]
        assert declared.specifier.contains(str(pin.specifier).removeprefix("==")), text
        assert str(pin.marker) == str(declared.marker), text


@pytest.mark.skipif(Path(sys.prefix) != ROOT / ".venv", reason="not the environment that make sets up")
def test_the_environment_is_the_lock_s() -> None:
    for name, pin in pins().items():
        if pin.marker is None or pin.marker.evaluate():
            assert pin.specifier.contains(importlib.metadata.version(name)), name
    if sys.platform == "linux" and sys.version_info[:2] == (3, 11):  # what the lock was made on
        assert {line.partition("==")[0] for line in script("lock").lines()} == set(pins())


def files(folder: str) -> list[str]:
    """Those of a folder of this repository, by their path in it."""
    top = ROOT / folder
    found = [path.relative_to(top) for path in top.rglob("*") if path.is_file()]
    return [path.as_posix() for path in found if "__pycache__" not in path.parts]


def test_the_distributions_hold_the_package_and_its_data(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    answer = run(sys.executable, "-m", "hatchling", "build", "-d", tmp_path, folder=ROOT)
    assert answer.returncode == 0, answer.stderr
    (source,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for folder in ("cqlbench", "benchmarks", "datasets", "docs", "results/baselines", "results/reference"):
        assert {f"{folder}/{path}" for path in files(folder)} <= names
    assert {"Makefile", "README.md", "CHANGELOG.md", "requirements.lock", "results/README.md"} <= names
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, inside in (
        ("cqlbench", "cqlbench"),
        ("benchmarks", "cqlbench/_bundled/benchmarks"),
        ("datasets", "cqlbench/_bundled/datasets"),
        ("results/reference", "cqlbench/_bundled/results/reference"),
    ):
        assert {f"{inside}/{path}" for path in files(folder)} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_all_brings_every_extra_but_the_maintainers_own() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    (whole,) = map(Requirement, extras["all"])
    assert whole.extras == set(extras) - {"all", "dev", "docs"}


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["cff-version"], cited["version"]) == ("1.2.0", cqlbench.__version__)


def test_workflows_run_only_commands_that_exist() -> None:
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values():
            for step in job["steps"]:
                for target in re.findall(r"\bmake (\w+)", step.get("run", "")):
                    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), f"{path.name}: make {target}"
