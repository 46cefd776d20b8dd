"""The command end to end on a dataset of 600 rows."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
from made_records import all_records

from cqlbench.records import provenance
from cqlbench.records.schema import Git
from cqlbench.records.store import RecordStore

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def gate(suite_file: Path, bench: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`gate("key=value", ...)` -> exit status, standard output, standard error."""
    checkout(monkeypatch, "c")
    return lambda *words: bench("device=cpu", *words, verb="gate")


def checkout(monkeypatch: pytest.MonkeyPatch, commit: str, *, dirty: bool = False) -> None:
    state = Git(commit=commit * 40, dirty=dirty)
    for place in ("cqlbench.records.provenance.git_state", "cqlbench.commands.gate.git_state"):
        monkeypatch.setattr(place, lambda: state)


def baseline(world: Path) -> Path:
    return world / "results" / "baselines" / "mine.json"


def raise_scores(path: Path, points: float) -> None:
    """Another past: accepted scores that are higher than the suite's."""
    content = json.loads(path.read_text())
    for entry in content["entries"]:
        entry["scores"] = {seed: score + points for seed, score in entry["scores"].items()}
    path.write_text(json.dumps(content))


def test_accepted_compared_and_red_where_scores_were_higher(world: Path, gate: Run) -> None:
    status, out, err = gate("suite=mine", "--accept")
    assert status == 0, err
    assert f"Accepted {baseline(world)}" in out
    status, out, err = gate("suite=mine", "run=false")
    assert status == 0, err
    assert "Gate mine: no change" in out
    raise_scores(baseline(world), 20.0)
    status, out, err = gate("--baseline", str(baseline(world)), "--run=false")
    assert status == 1, err
    folder = world / "results" / "report" / "gate-mine"
    assert (folder / "gate.md").read_text().startswith("# Gate mine: regression\n")
    suite = ET.fromstring((folder / "gate.xml").read_bytes()).find("testsuite")
    assert suite is not None
    assert suite.get("failures") == "2"
    assert "20.0" in out
    assert gate("suite=mine", "run=false", "margin=25")[0] == 0


def test_a_slower_training_is_noted_and_fails_only_where_it_is_asked_to(world: Path, gate: Run) -> None:
    assert gate("suite=mine", "--accept")[0] == 0
    content = json.loads(baseline(world).read_text())
    for entry in content["entries"]:
        entry["steps_per_second"] *= 4
    baseline(world).write_text(json.dumps(content))
    status, out, err = gate("suite=mine", "run=false")
    assert status == 0, err
    folder = world / "results" / "report" / "gate-mine"
    for text in (out, (folder / "gate.md").read_text(), (folder / "gate.xml").read_text()):
        assert "0.25 of the accepted speed" in " ".join(text.split())
    status, out, _ = gate("suite=mine", "run=false", "throughput=0.5")
    assert status == 1
    assert "slower" in out


@pytest.mark.parametrize("place", ["commands.gate.judge", "experiments.suite.bench"])
def test_a_crash_is_no_regression(
    world: Path, gate: Run, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    assert gate("suite=mine", "--accept")[0] == 0
    checkout(monkeypatch, "d")
    accepted = baseline(world).read_bytes()
    monkeypatch.setattr(f"cqlbench.{place}", lambda *_: 1 // 0)
    for words in [(), ("--accept",)] if place == "experiments.suite.bench" else [()]:
        status, _, err = gate("suite=mine", *words)
        assert status == 70
        assert "Traceback" in err
        assert "ZeroDivisionError" in err
    assert baseline(world).read_bytes() == accepted


def test_a_seed_that_failed_cannot_be_judged(world: Path, gate: Run, monkeypatch) -> None:
    assert gate("suite=mine", "--accept")[0] == 0
    checkout(monkeypatch, "d")
    monkeypatch.setattr(
        "cqlbench.experiments.records.failure", lambda _, position: "Lost." if position else None
    )
    status, out, _ = gate("suite=mine")
    assert status == 2
    assert "Lost." in out


def test_code_with_changes_runs_anew_and_a_clean_commits_runs_are_used(
    world: Path, gate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout(monkeypatch, "a")
    assert gate("suite=mine", "accept=true")[0] == 0
    assert gate("suite=mine")[0] == 0
    assert len(all_records(world / "results")) == 3
    checkout(monkeypatch, "a", dirty=True)
    assert gate("suite=mine")[0] == 0
    assert len(all_records(world / "results")) == 6
    checkout(monkeypatch, "b")
    assert gate("suite=mine")[0] == 0
    assert len(all_records(world / "results")) == 9


def test_files_of_others_are_refused_before_anything_runs(world: Path, gate: Run, tmp_path: Path) -> None:
    (tmp_path / "thesis.json").write_text("{}")
    status, _, err = gate("suite=mine", "accept=true", f"baseline={tmp_path / 'thesis.json'}")
    assert (status, (tmp_path / "thesis.json").read_text()) == (2, "{}"), err
    assert not (world / "results").exists()
    assert gate("suite=mine", "accept=true")[0] == 0
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "gate.md").write_text("mine")
    status, _, err = gate("suite=mine", f"output={tmp_path / 'out'}")
    assert status == 2
    assert "gate.md" in err
    assert (tmp_path / "out" / "gate.md").read_text() == "mine"
    assert len(all_records(world / "results")) == 3


def test_code_with_changes_is_not_accepted(world: Path, gate: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout(monkeypatch, "a", dirty=True)
    status, _, err = gate("suite=mine", "--accept")
    assert status == 2
    assert "uncommitted" in err
    assert not (world / "results").exists()
    monkeypatch.setattr("cqlbench.commands.gate.git_state", lambda: Git(commit="a" * 40, dirty=False))
    status, _, err = gate("suite=mine", "--accept")  # its records are of code with changes all the same
    assert status == 2
    assert "uncommitted" in err
    assert not baseline(world).exists()


def test_a_damaged_record_is_a_missing_run(world: Path, gate: Run) -> None:
    assert gate("suite=mine", "accept=true")[0] == 0
    path = next((world / "results" / "runs").rglob("seed-1.json"))
    path.write_bytes(path.read_bytes()[:100])
    status, out, err = gate("suite=mine", "run=false")
    assert status == 2
    assert "No run of seed 1 is recorded." in out
    assert str(path) in err


def test_a_missing_run_cannot_be_judged(world: Path, gate: Run) -> None:
    assert gate("suite=mine", "accept=true")[0] == 0
    next((world / "results" / "runs").rglob("seed-1.json")).unlink()
    status, out, _ = gate("suite=mine", "run=false")
    assert status == 2
    assert "No run of seed 1 is recorded." in out


def test_another_budget_cannot_be_judged(world: Path, gate: Run) -> None:
    assert gate("suite=mine", "accept=true")[0] == 0
    status, out, _ = gate("suite=mine", "steps=8")
    assert status == 2
    assert "their budget (steps) differs, 6 against 8" in out


def test_too_few_seeds_are_not_accepted(world: Path, gate: Run) -> None:
    status, _, err = gate("suite=mine", "accept=true", "seeds=2")
    assert status == 2
    assert "cannot be accepted. It has 2 seeds, and at least 3 are needed." in err
    assert not baseline(world).exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "No suite was named"),
        (["suite=mine"], "There is no accepted baseline"),
        (["baseline=/nowhere.json"], "There is no accepted baseline '/nowhere.json'"),
        (["suite=mine", "margin=much"], "--margin: 'much' must be a number of at least 0"),
        (["suite=mine", "level=1"], "--level: '1' must be a number of at least 0.5 and below 1"),
        (["suite=mine", "accept=perhaps"], "--accept: 'perhaps' must be true or false"),
        (["suite=mine", "accept=true", "sedes=3"], "Unknown key 'sedes'"),
    ],
)
def test_mistakes_are_one_sentence(world: Path, gate: Run, words: list[str], sentence: str) -> None:
    status, _, err = gate(*words)
    assert status == 2
    assert sentence in err
    assert not (world / "results").exists()


def test_a_baseline_of_another_suite_is_refused(world: Path, suite_file: Path, gate: Run) -> None:
    assert gate("suite=mine", "accept=true")[0] == 0
    suite_file.with_name("yours.yaml").write_text(suite_file.read_text())
    status, _, err = gate("suite=yours", f"baseline={baseline(world)}")
    assert status == 2
    assert "is of the suite mine, not yours." in err
    status, _, err = gate("suite=mine", "select=best")
    assert status == 2
    assert "select=best differs from the baseline's, mean10" in err


def test_runs_of_other_packages_are_made_again_or_named(world: Path, gate: Run, monkeypatch) -> None:
    assert gate("suite=mine", "--accept")[0] == 0
    here = provenance.versions()
    monkeypatch.setattr("cqlbench.records.provenance.versions", lambda: here | {"torch": "0.1"})
    status, out, err = gate("suite=mine", "run=false")
    assert status == 0, err
    assert any(line.startswith("Note ") and "torch is 0.1" in line for line in out.splitlines())
    assert len(all_records(world / "results")) == 3
    assert gate("suite=mine")[0] == 0
    assert len(all_records(world / "results")) == 6
    assert gate("suite=mine")[0] == 0
    assert len(all_records(world / "results")) == 6


def test_without_running_records_of_one_content_are_found(world: Path, gate: Run) -> None:
    card = world / "cards" / "tiny.toml"
    text = card.read_text()
    card.write_text(f'{text}content_hash = "{"0" * 64}"\n')
    assert gate("suite=mine", "--accept")[0] == 0
    (content,) = {record.dataset.content_hash for record in all_records(world / "results")}
    status, out, err = gate("suite=mine", "run=false")
    assert status == 0, err
    assert content[:12] in out
    card.write_text(text.replace("rows = 600", "rows = 500") + f'content_hash = "{content}"\n')
    assert gate("suite=mine", "--accept", "seeds=4")[0] == 0
    store = RecordStore(world / "results")
    for path in store.runs.rglob("seed-3.json"):
        path.unlink()
    status, out, _ = gate("suite=mine", "run=false", "seeds=4")
    assert status == 2  # three of the newer content, and never one of the older
    assert "No run of seed 3" in out
