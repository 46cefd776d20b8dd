"""A run that is stopped, killed or out of disk, and started again, gives what it would have given."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_records import all_records, replace

from cqlbench.core.paths import data_root
from cqlbench.engine.checkpoint import FORMAT, CheckpointFolder, load, save
from cqlbench.engine.engine import Engine
from cqlbench.evaluation.evaluator import Evaluator
from cqlbench.experiments import resume, run
from cqlbench.records import provenance
from cqlbench.records.schema import Git
from cqlbench.records.store import RecordStore

RUN = ["dataset=tiny-hopper", "seeds=2", "steps=9", "budget.evaluation_interval=3"]


def ended(program: str, world: Path, trials: int, *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / program), str(world), str(trials), *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def killed_runs(world: Path, trials: int, *words: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(ended("killed_runs.py", world, trials, *words).stdout)
    assert report["whole"]["status"] == 0
    assert report["whole"]["tensors"] > 20
    assert report["whole"]["evaluations"] == [3, 3]
    for trial in report["trials"]:
        assert trial["status"] == 0, trial
        assert trial["same_tensors"], trial
        assert trial["same_records"], trial
        assert trial["left"] == [], trial
    assert len(report["trials"]) == trials
    # A kill at the run's last moments may come too late.
    assert sum(trial["killed"] == len(trial["deaths"]) for trial in report["trials"]) >= trials - 1
    return report


@pytest.mark.parametrize("trials", [6, pytest.param(60, marks=pytest.mark.slow)])
def test_runs_killed_at_random_moments_and_resumed_equal_the_one_that_was_not(
    world: Path, trials: int
) -> None:
    report = killed_runs(world, trials, "step,save,play", "1")
    # The kills were what they are meant to be: in the middle of training, and some of a save.
    assert sum(bool(trial["resumed_at"]) for trial in report["trials"]) >= trials // 2
    assert any(trial["mid_write"] for trial in report["trials"])


@pytest.mark.parametrize("trials", [4, pytest.param(40, marks=pytest.mark.slow)])
def test_fine_tuned_runs_killed_at_random_moments_equal_the_one_that_was_not(
    world: Path, trials: int
) -> None:
    words = [*RUN, "steps=3", "online.frames=60", "online.evaluation_interval=30", "online.random_frames=4"]
    words += ["online.timeout=0", "algorithm=calql"]
    # A checkpoint now and then, so that the frames after it come from the rows that were committed.
    report = killed_runs(world, trials, "step,save", "10", *words)
    assert sum(max(trial["resumed_at"], default=0) > 3 for trial in report["trials"]) >= trials // 2


def two_hosts(world: Path, trials: int) -> None:
    done = ended("two_hosts.py", world, trials)
    reports = json.loads(done.stdout)
    assert len(reports) == trials
    for report in reports:
        assert report["same_records"], (report, done.stderr)
        assert report["left"] == []
        first, second = report["statuses"]
        assert second == 0, done.stderr
        assert first in (0, 3)  # 0: it had recorded everything itself
    assert any(report["statuses"][0] == 3 for report in reports)


def test_a_host_that_slept_while_another_took_its_run_over_writes_nothing(world: Path) -> None:
    two_hosts(world, 2)


@pytest.mark.slow
def test_hosts_that_sleep_at_many_moments_write_nothing(world: Path) -> None:
    two_hosts(world, 20)


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """`at_step(k, act)`: `act` is called in the middle of the k-th gradient step of training, once."""

    def install(step: int, act: Callable[[], None]) -> None:
        take, acts = Engine.advance, [act]

        def advance(self: Engine, at: int, at_most: int) -> int:
            if at == step - 1 and acts:
                acts.pop()()
            return take(self, at, at_most)

        monkeypatch.setattr(Engine, "advance", advance)
        monkeypatch.setattr(run, "LAUNCH_SECONDS", 0.0)  # every step is asked for

    return install


def outcome(results: Path) -> list[dict]:
    """What clocks and interruptions do not decide in the records."""
    records = [json.loads(path.read_text()) for path in sorted(results.rglob("seed-*.json"))]
    for record in records:
        for name in ("throughput", "created_at", "resumed_at"):
            record.pop(name, None)
        for evaluation in record["evaluations"]:
            del evaluation["wall_seconds"]
    return records


def checkpoints(results: Path) -> list[Path]:
    return sorted(results.rglob("step-*"))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results that several tests begin with."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def whole(kept: Path, bench: Callable) -> list[dict]:
    """The outcome of a run that was left in peace."""
    if not (kept / "whole").exists():
        assert bench(*RUN, f"results={kept / 'whole'}")[0] == 0
    return outcome(kept / "whole")


def terminate() -> None:
    signal.raise_signal(signal.SIGTERM)


def test_the_same_command_goes_on_after_a_signal_and_says_so(world, bench, whole, at_step) -> None:
    at_step(5, terminate)
    status, _, err = bench(*RUN)
    assert status == 143
    assert "interrupted (SIGTERM); saved after 5 of 9 gradient steps" in err
    assert outcome(world / "results") == []
    assert [path.name for path in checkpoints(world / "results")] == ["step-000000000005.checkpoint"]
    status, out, _ = bench(*RUN)
    assert status == 0
    assert "Resumed  after 5 of 9 gradient steps, from " in out
    assert outcome(world / "results") == whole
    written = [json.loads(path.read_text()) for path in (world / "results").rglob("seed-*.json")]
    assert [record["resumed_at"] for record in written] == [[5], [5]]
    assert [path.name for path in (world / "results").rglob("checkpoints*")] == []


def test_a_resumed_run_logs_its_own_evaluations(world, bench, at_step) -> None:
    at_step(5, terminate)
    assert bench(*RUN, "logger=csv")[0] == 143
    assert bench(*RUN, "logger=csv")[0] == 0
    logs = sorted((world / "results" / "logs").rglob("evaluation/return.csv"))
    steps = [[int(line.split(",")[0]) for line in log.read_text().splitlines()] for log in logs]
    assert steps == [[3], [6, 9]]


def stopped_in_the_evaluation_after(monkeypatch: pytest.MonkeyPatch, step: int) -> list[int]:
    """Terminates the run at the evaluation's fifth frame; the gradient steps before each frame played."""
    player, calls = Evaluator._player, []

    def terminating(self: Evaluator) -> object:
        act, rewarded = player(self)

        def slow_act(observations: object) -> object:
            calls.append(self.trainer.gradient_steps)
            if calls[-1] == step and calls.count(step) == 5:
                terminate()
            return act(observations)

        return slow_act, rewarded

    monkeypatch.setattr(Evaluator, "_player", terminating)
    return calls


def test_a_run_stopped_in_its_last_evaluation_logs_it_when_resumed(world, bench, monkeypatch) -> None:
    stopped_in_the_evaluation_after(monkeypatch, 9)
    assert bench(*RUN, "logger=csv")[0] == 143
    assert bench(*RUN, "logger=csv")[0] == 0
    logs = sorted((world / "results" / "logs").rglob("evaluation/return.csv"))
    steps = [[int(line.split(",")[0]) for line in log.read_text().splitlines()] for log in logs]
    assert steps == [[3, 6], [9]]


def test_an_impatient_second_ctrl_c_saves_no_half_taken_step(world, bench, at_step) -> None:
    def press_twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    at_step(5, press_twice)
    status, _, err = bench(*RUN)
    assert status == 130
    assert "interrupted (SIGINT); nothing is left half-written." in err
    assert checkpoints(world / "results") == []


def test_a_signal_in_an_evaluation_does_not_wait_for_its_end(world, bench, whole, monkeypatch) -> None:
    calls = stopped_in_the_evaluation_after(monkeypatch, 6)
    status, _, err = bench(*RUN)
    assert status == 143
    assert "saved after 6 of 9" in err
    assert calls.count(6) == 5
    status, out, _ = bench(*RUN)
    assert status == 0
    assert "Resumed  after 6 of 9" in out
    assert outcome(world / "results") == whole


def test_a_signal_in_the_last_save_says_that_it_was_saved(world, bench, whole, monkeypatch) -> None:
    save = CheckpointFolder.save

    def slow_save(self: CheckpointFolder, step: int, *rest: object) -> Path:
        monkeypatch.setattr(CheckpointFolder, "save", save)
        terminate()
        return save(self, step, *rest)

    monkeypatch.setattr(CheckpointFolder, "save", slow_save)
    status, _, err = bench(*RUN)
    assert status == 143
    assert "interrupted (SIGTERM); saved after 9 of 9 gradient steps" in err
    assert bench(*RUN)[0] == 0
    assert outcome(world / "results") == whole


def test_a_run_stopped_between_its_records_writes_each_once(world, bench, whole, monkeypatch) -> None:
    write, written = RecordStore.write, []

    def write_some(self: RecordStore, record: object, *check: object) -> Path:
        if len(written) == 1:
            written.append(None)
            terminate()
        written.append(record)
        return write(self, record)

    monkeypatch.setattr(RecordStore, "write", write_some)
    assert bench(*RUN)[0] == 143
    assert len(outcome(world / "results")) == 1
    assert bench(*RUN)[0] == 0
    assert outcome(world / "results") == whole
    assert bench(*RUN)[0] == 0
    assert len(outcome(world / "results")) == 2


def test_a_torn_checkpoint_is_refused_with_a_sentence_and_the_one_before_used(
    world, bench, whole, at_step, monkeypatch
) -> None:
    monkeypatch.setattr(resume, "_COST", 0)
    at_step(5, terminate)
    bench(*RUN, "checkpoint_interval=1e-9")
    before, last = checkpoints(world / "results")
    last.write_bytes(last.read_bytes()[:1000])
    status, out, _ = bench(*RUN)
    assert status == 0
    assert f"Refused  Checkpoint '{last}' is damaged" in out
    assert f"Resumed  after 4 of 9 gradient steps, from {before}" in out
    assert outcome(world / "results") == whole


def test_a_full_disk_stops_with_a_sentence_and_keeps_the_last_good_checkpoint(
    world, bench, whole, at_step, monkeypatch
) -> None:
    monkeypatch.setattr(resume, "_COST", 0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    at_step(5, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1])))
    try:
        status, _, err = bench(*RUN, "checkpoint_interval=1e-9")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    sentence = err.strip().splitlines()[-1]
    assert status == 2
    assert sentence.startswith("cqlbench: Checkpoint '")
    assert "step-000000000005.checkpoint' cannot be written (File too large)" in sentence
    assert "The last good one, 'step-000000000004.checkpoint', is kept" in sentence
    assert len(checkpoints(world / "results")) == 2
    assert list((world / "results").rglob("*.tmp")) == []
    status, out, _ = bench(*RUN)
    assert status == 0
    assert "Resumed  after 4 of 9" in out
    assert outcome(world / "results") == whole


def test_a_disk_that_was_full_from_the_start_is_said(world, bench, at_step) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    at_step(5, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1])))
    try:
        status, _, err = bench(*RUN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert status == 2
    assert "None was saved before it; make room" in err
    assert outcome(world / "results") == []


@pytest.fixture
def stopped(world: Path, kept: Path, bench: Callable, at_step: Callable) -> Path:
    """The checkpoint of a run that was stopped after 5 steps."""
    if not (kept / "stopped").exists():
        at_step(5, terminate)
        assert bench(*RUN, f"results={kept / 'stopped'}")[0] == 143
    shutil.copytree(kept / "stopped", world / "results")
    return checkpoints(world / "results")[-1]


@pytest.mark.parametrize(
    ("word", "difference"),
    [
        ("algorithm.conservative_weight=5", "algorithm.conservative_weight is 5.0 here and 10.0 there"),
        ("algorithm.lagrange=true", "algorithm.lagrange is True here and False there"),
        ("seeds=[0,2]", "seeds is [0, 2] here and [0, 1] there"),
        ("dataset=tiny-hoppest", "dataset.content_hash is "),
    ],
)
def test_another_config_or_dataset_is_refused_by_what_differs(
    world, bench, stopped, word: str, difference: str
) -> None:
    cards = (world / "cards" / "tiny.toml").read_text()
    (world / "cards" / "tiny.toml").write_text(
        cards + cards[cards.index("[card") :].replace("tiny-hopper", "tiny-hoppest").replace("600", "500")
    )
    named = {key.partition("=")[0] for key in [word]}
    words = [each for each in RUN if each.partition("=")[0] not in named]
    before = stopped.read_bytes()
    status, _, err = bench(*words, word, f"resume={stopped}")
    sentence = err.strip().splitlines()[-1]
    assert status == 2
    assert difference in sentence
    assert stopped.read_bytes() == before
    assert outcome(world / "results") == []
    # By itself, such a run is one of its own, and leaves the other alone.
    status, out, _ = bench(*words, word)
    assert status == 0
    assert "Resumed" not in out
    assert stopped.read_bytes() == before


def commits(monkeypatch: pytest.MonkeyPatch, commit: str, *, dirty: bool) -> None:
    state = Git(commit=commit * 40, dirty=dirty)
    monkeypatch.setattr("cqlbench.records.provenance.git_state", lambda: state)


@pytest.mark.parametrize(("began_dirty", "ended_dirty"), [(False, False), (True, False), (False, True)])
def test_other_code_of_the_same_scores_version_resumes_and_is_recorded(
    world, bench, whole, at_step, monkeypatch, began_dirty: bool, ended_dirty: bool
) -> None:
    commits(monkeypatch, "a", dirty=began_dirty)
    at_step(3, terminate)
    assert bench(*RUN)[0] == 143
    commits(monkeypatch, "b", dirty=ended_dirty)
    at_step(6, terminate)
    status, out, _ = bench(*RUN)
    assert status == 143
    assert "(commit aaaaaaa to bbbbbbb)" in out
    status, out, _ = bench(*RUN)
    assert status == 0
    assert "commit aaaaaaa" not in out
    found = outcome(world / "results")
    for record in found:
        assert record["git"] == {"commit": "b" * 40, "dirty": began_dirty or ended_dirty}
        assert record.pop("earlier_commits") == ["a" * 40]
    code = {name: whole[0][name] for name in ("git", "comparable_reason")}
    assert [record | code for record in found] == whole
    assert all_records(world / "results")[0].earlier_commits == ("a" * 40,)


def recording(path: Path) -> Path:
    """A file in D4RL's schema, of one episode."""
    states = np.random.default_rng(0).normal(size=(41, 3)).astype(np.float32)
    ends = np.zeros(40, bool)
    arrays = {"observations": states[:-1], "actions": states[1:, :2] / 9, "rewards": states[1:, 0]}
    np.savez(path, **arrays, next_observations=states[1:], terminals=ends, timeouts=ends)
    return path


def test_another_word_in_a_docstring_resumes(tmp_path: Path, monkeypatch, bench, at_step) -> None:
    tree = tmp_path / "tree"
    for name in ("cqlbench", "benchmarks", "datasets"):
        shutil.copytree(data_root() / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    runner = tree / "cqlbench" / "experiments" / "run.py"
    runner.write_text(runner.read_text().replace('"""A plan', '"""Some plan', 1))
    words = [f"dataset={recording(tmp_path / 'robot.npz')}", *RUN[1:], "budget=smoke"]
    words += ["algorithm.batch_size=8", f"results={tmp_path / 'results'}"]
    at_step(5, terminate)
    assert bench(*words)[0] == 143
    done = subprocess.run(
        [sys.executable, "-m", "cqlbench", "bench", *words],
        env=os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Resumed  after 5 of 9" in done.stdout


def test_another_scores_version_is_refused(world, bench, stopped, monkeypatch) -> None:
    monkeypatch.setattr("cqlbench.SCORES_VERSION", 1000)
    status, _, err = bench(*RUN, f"resume={stopped}")
    assert status == 2
    assert "scores_version is 1000 here" in err


def versions(monkeypatch: pytest.MonkeyPatch, **others: str) -> None:
    known = provenance.versions()
    monkeypatch.setattr("cqlbench.records.provenance.versions", lambda: known | others)


@pytest.mark.parametrize("package", resume.COMPUTING)
def test_another_version_of_a_package_that_computes_is_refused_until_a_new_beginning_is_asked_for(
    world, bench, stopped, monkeypatch, package: str
) -> None:
    versions(monkeypatch, **{package: "99.0"})
    status, _, err = bench(*RUN)
    assert status == 2
    assert f"{package} is 99.0 here and " in err
    assert "resume=never" in err
    assert stopped.exists()
    status, out, _ = bench(*RUN, "resume=never")
    assert status == 0
    assert "Resumed" not in out
    assert not stopped.exists()


def test_another_version_of_what_computes_nothing_resumes(world, bench, stopped, monkeypatch) -> None:
    versions(monkeypatch, python="3.99.0", h5py="99.0", torchrl="99.0", tensordict="99.0", cqlbench="99.0")
    status, out, _ = bench(*RUN)
    assert status == 0
    assert "Resumed" in out


def test_a_checkpoint_of_another_format_is_refused_and_kept(world, bench, stopped) -> None:
    content = stopped.read_bytes()
    stopped.write_bytes(content.replace(b"checkpoint %d\n" % FORMAT, b"checkpoint 1\n", 1))
    status, _, err = bench(*RUN)
    assert status == 2
    assert "format 1" in err
    assert stopped.exists()


def test_a_state_that_cannot_be_loaded_is_refused_and_kept(world, bench, stopped) -> None:
    state, facts = load(stopped)
    del state["evaluator"]["seconds"]
    save(stopped, state, facts)
    status, _, err = bench(*RUN)
    assert status == 2
    assert "another version of cqlbench" in err
    assert stopped.exists()


def test_a_checkpoint_may_be_named_and_must_be_there(world, bench, whole, stopped) -> None:
    elsewhere = f"results={world / 'elsewhere'}"
    status, _, err = bench(*RUN, elsewhere, f"resume={world / 'nothing'}")
    assert status == 2
    assert f"'{world / 'nothing'}' cannot be read" in err
    status, _, err = bench(*RUN, elsewhere, f"resume={world / 'cards'}")
    assert status == 2
    assert "holds no checkpoint" in err
    status, out, _ = bench(*RUN, elsewhere, f"resume={stopped.parent}")
    assert status == 0
    assert f"from {stopped}" in out
    assert outcome(world / "elsewhere") == whole
    assert stopped.exists()


def test_another_machine_is_said(world, bench, stopped, monkeypatch) -> None:
    told = provenance._cpu
    monkeypatch.setattr(provenance, "_cpu", lambda key: "a fast one" if key == "model name" else told(key))
    status, out, _ = bench(*RUN)
    assert status == 0
    assert "with other cpu: " in out


@pytest.mark.parametrize("shares", [True, False])
def test_other_threads_are_said_where_they_matter(world, bench, stopped, monkeypatch, shares: bool) -> None:
    machine = provenance.machine
    monkeypatch.setattr(
        "cqlbench.records.provenance.machine", lambda *facts: replace(machine(*facts), threads=77)
    )
    if not shares:
        monkeypatch.setattr(Engine, "shares_work", False)
    status, out, _ = bench(*RUN)
    assert status == 0
    assert "Resumed" in out
    assert ("with other threads: " in out) != shares
    for record in all_records(world / "results"):
        assert record.machine.threads == 77
        assert [each.threads for each in record.earlier_machines] != [77]
        assert len(record.earlier_machines) == 1


def test_one_process_at_a_time_makes_a_run(world, bench, stopped) -> None:
    with CheckpointFolder(stopped.parent).alone():
        status, _, err = bench(*RUN)
    assert status == 2
    assert "Another process" in err
    assert bench(*RUN)[0] == 0


def test_without_an_interval_nothing_is_saved(world, bench, at_step) -> None:
    at_step(5, terminate)
    status, _, err = bench(*RUN, "checkpoint_interval=0")
    assert status == 143
    assert "nothing was saved, as checkpoint_interval=0 says" in err
    assert list((world / "results").rglob("checkpoints*")) == []


def test_saves_take_less_than_a_fiftieth_of_the_time_however_slow_the_disk(world, bench, monkeypatch) -> None:
    save, saved = CheckpointFolder.save, []
    now = [0.0]

    def slow_save(self: CheckpointFolder, *arguments: object) -> Path:
        saved.append(now[0])
        now[0] += 3.0
        return save(self, *arguments)

    def advance(self: Engine, at: int, at_most: int) -> int:
        now[0] += 10.0
        return take(self, at, at_most)

    take = Engine.advance
    monkeypatch.setattr(CheckpointFolder, "save", slow_save)
    monkeypatch.setattr(Engine, "advance", advance)
    monkeypatch.setattr(run, "LAUNCH_SECONDS", 0.0)
    monkeypatch.setattr("cqlbench.experiments.resume.time.perf_counter", lambda: now[0])
    assert bench(*RUN, "steps=60", "budget.evaluation_interval=60", "checkpoint_interval=20")[0] == 0
    assert saved[:-1] == [20.0, 173.0, 326.0, 479.0]  # the next step that ends 150 seconds after a save
