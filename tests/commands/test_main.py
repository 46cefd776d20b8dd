"""The real command, end to end, on a tiny dataset; and every way a user can get it wrong."""

import ctypes
import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from cqlbench.commands import main as module
from cqlbench.commands.main import main
from cqlbench.commands.pages import PAGES
from cqlbench.commands.parser import read_arguments
from cqlbench.engine.engine import Engine

TINY = "dataset=tiny-hopper"


def records(world: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((world / "results").rglob("seed-*.json"))]


def assert_refused(result: tuple[int, str, str], *words: str) -> None:
    status, _, err = result
    sentence = [line for line in err.splitlines() if line.startswith("cqlbench: ")]
    assert status == 2
    assert len(sentence) == 1
    assert "Traceback" not in err
    for word in words:
        assert word in sentence[0]


@pytest.mark.parametrize("shortcuts", [None])
def test_a_bench_run_leaves_records_a_table_and_a_curve(world, shortcuts, bench) -> None:
    status, out, err = bench(TINY, "seeds=2")
    assert status == 0, err
    assert "embedded/tiny-hopper-v0" in out
    assert "behaviour policy" in out
    assert "Not comparable with published scores" in out
    found = records(world)
    assert [record["seed"] for record in found] == [0, 1]
    for record in found:
        assert record["status"] == "finished"
        assert record["evaluations"][-1]["step"] == 6
        assert len(record["evaluations"][-1]["returns"]) == 3
        assert record["dataset"]["rows"] == 600
    report = next((world / "results" / "report").rglob("table.md")).parent
    assert {path.name for path in report.iterdir() if not path.name.startswith(".")} == {
        "table.md",
        "learning-curve.png",
        "learning-curve.pdf",
        "learning-curve.txt",
        "learning-curve.tex",
    }
    assert (report / "learning-curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("shortcuts", [None])
def test_the_same_arguments_give_the_same_returns_and_the_second_run_collects_nothing(
    world, shortcuts, bench
) -> None:
    _, _, first_err = bench(TINY)
    status, _, second_err = bench(TINY, "rerun=true")
    assert status == 0
    assert "collecting" in first_err
    assert "collecting" not in second_err
    found = records(world)
    assert len(found) == 6
    by_seed: dict[int, list] = {}
    for record in found:
        by_seed.setdefault(record["seed"], []).append([e["returns"] for e in record["evaluations"]])
    for first, second in by_seed.values():
        assert first == second
    assert by_seed[0] != by_seed[1]


def test_cal_ql_is_an_algorithm_of_its_own(world, bench) -> None:
    assert bench(TINY, "seeds=1")[0] == 0
    status, out, err = bench(TINY, "seeds=1", "algorithm=calql")
    assert status == 0, err
    calibrated, plain = (
        json.loads(path.read_text()) for path in sorted((world / "results").rglob("seed-*.json"))
    )
    assert (calibrated["algorithm"], plain["algorithm"]) == ("calql", "cql")
    assert calibrated["config"]["algorithm"]["calibrated"] is True
    assert 0 < calibrated["diagnostics"][-1]["calibrated_fraction"] <= 1
    assert "calibrated_fraction" not in plain["diagnostics"][-1]
    assert "calql" in out
    assert_refused(bench(TINY, "algorithm=calql", "algorithm.conservative_weight=0"), "raise the weight")


def test_a_seed_scores_the_same_alone(world, bench) -> None:
    bench(TINY, "seeds=[0,1,2]")
    bench(TINY, "seeds=[1]", f"results={world / 'alone'}")
    alone = json.loads(next((world / "alone").rglob("seed-1.json")).read_text())
    together = records(world)[1]
    for ours, theirs in zip(together["diagnostics"], alone["diagnostics"], strict=True):
        for name, value in theirs.items():
            assert ours[name] == pytest.approx(value, rel=1e-4), name


def test_a_dataset_without_an_environment_trains_and_says_so(world, bench) -> None:
    path = write_d4rl(world / "robot.hdf5")
    status, out, _ = bench(f"dataset={path}", "seeds=1")
    assert status == 0
    assert records(world)[0]["protocol"] is None
    assert "ot evaluated" in records(world)[0]["reason"]
    assert "ot evaluated" in out


def test_a_dataset_whose_environment_cannot_be_had_trains_and_its_record_says_why(
    world, bench, monkeypatch
) -> None:
    missing = 'id = "Arm-v0", module = "no_such_arms", extra = "robotics"'
    monkeypatch.setenv("D4RL_DATASET_DIR", str(world))
    write_d4rl(world / "robot.hdf5")
    (world / "cards" / "mine.toml").write_text(
        '[card."d4rl/robot-v0"]\nsource = "d4rl"\nendpoints_missing_because = "nobody knows"\n'
        f'urls = ["http://127.0.0.1:9/robot.hdf5"]\nenvironment = {{ {missing} }}\n'
    )
    status, out, _ = bench("dataset=d4rl/robot-v0", "seeds=2")
    assert status == 0
    assert (
        "Scores   Not evaluated: Environment 'Arm-v0' cannot be made here (No module named 'no_such_arms')"
        in out
    )
    first, second = records(world)
    assert first["status"] == second["status"] == "finished"
    assert first["protocol"] is None
    assert first["evaluations"] == []
    assert first["reason"] == second["reason"]
    assert first["reason"].endswith("install what it needs with `pip install 'cqlbench[robotics]'`.")


def write_d4rl(path: Path, **changes: np.ndarray | None) -> Path:
    rows = 40
    generator = np.random.default_rng(0)
    states = generator.normal(size=(rows + 1, 3)).astype(np.float32)
    arrays = {
        "observations": states[:-1],
        "next_observations": states[1:],
        "actions": generator.uniform(-1, 1, (rows, 2)).astype(np.float32),
        "rewards": np.ones(rows, np.float32),
        "terminals": np.zeros(rows, bool),
        "timeouts": np.arange(rows) == rows - 1,
    } | changes
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            if array is not None:
                file[name] = array
    return path


BAD_FILES = [
    ({"rewards": None}, ["rewards"]),
    ({"rewards": np.ones(39, np.float32)}, ["rewards", "39"]),
    ({"observations": np.full((40, 3), np.nan, np.float32)}, ["observations", "row 0"]),
    ({"actions": np.full((40, 2), 1.5, np.float32)}, ["action", "1.5"]),
    ({name: np.zeros((0, 3), np.float32) for name in ("observations", "next_observations")}, []),
]


@pytest.mark.parametrize(("changes", "words"), BAD_FILES)
def test_bad_files_are_refused_before_training(world, bench, changes: dict, words: list[str]) -> None:
    path = write_d4rl(world / "bad.hdf5", **changes)
    assert_refused(bench(f"dataset={path}"), *words)
    assert records(world) == []


def test_a_truncated_file_is_refused(world, bench) -> None:
    path = write_d4rl(world / "cut.hdf5")
    path.write_bytes(path.read_bytes()[:1000])
    assert_refused(bench(f"dataset={path}"), "cut.hdf5")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["dataset=tiny-hoper"], ["tiny-hopper"]),
        ([TINY, "source=d4l"], ["d4l", "d4rl"]),
        (["dataset=/nowhere/x.hdf5"], ["/nowhere/x.hdf5"]),
        ([TINY, "seeds=[]"], ["empty"]),
        ([TINY, "seeds=1,1"], ["more than once"]),
        ([TINY, "device=cuda:99"], ["cuda:99"]),
        ([TINY, "device=toaster"], ["toaster"]),
        ([TINY, "threads=0"], ["threads=0"]),
        ([TINY, "threads=9999"], ["threads=9999"]),
        ([TINY, "threads=two"], ["threads=two"]),
        ([TINY, "results=/proc/none"], ["/proc/none"]),
        ([], ["No dataset"]),
    ],
)
def test_mistakes_end_in_one_sentence(world, bench, words: list[str], expected: list[str]) -> None:
    assert_refused(bench(*words), *expected)
    assert records(world) == []


def test_unknown_commands_name_the_known_ones(capsys) -> None:
    assert main(["bnech"]) == 2
    assert "bench" in capsys.readouterr().err


def test_help_works_everywhere(capsys) -> None:
    for words in (["--help"], ["bench", "--help"]):
        assert main(words) == 0
        assert "usage: cqlbench" in capsys.readouterr().out
    assert main(["--version"]) == 0


_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _as_a_child(parent: int) -> None:
    # A test run that was started in the background ignores SIGINT, and its children inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":  # a killed test run kills nothing itself
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def test_a_signal_saves_leaves_no_record_and_has_its_exit_status(tmp_path: Path) -> None:
    path = write_d4rl(tmp_path / "robot.hdf5")
    environment = os.environ | {"CQLBENCH_CACHE": str(tmp_path / "cache"), "CQLBENCH_OFFLINE": "1"}
    words = [f"dataset={path}", "budget=smoke", "steps=1000000", f"results={tmp_path / 'results'}"]
    command = [sys.executable, "-m", "cqlbench", "bench", *words]
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=functools.partial(_as_a_child, os.getpid()),
    ) as process:
        try:
            for line in iter(process.stdout.readline, b""):
                if line.startswith(b"Time"):
                    break
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=10)
        finally:
            process.kill()
    assert process.returncode == 130
    assert b"interrupted" in err
    assert b"of 1,000,000 gradient steps" in err
    assert b"Traceback" not in err
    assert list((tmp_path / "results").rglob("*.json")) == []
    assert len(list((tmp_path / "results").rglob("*.checkpoint"))) == 1


def test_a_key_may_be_written_as_an_option() -> None:
    words = ["--dataset", "x/y-1", "--tf32=true", "seeds=2", "--clip-actions", "true", "--print-config", "-m"]
    options, settings = read_arguments(PAGES["train"], words)
    assert options == ["--print-config", "-m"]
    assert settings == ["dataset=x/y-1", "tf32=true", "seeds=2", "clip_actions=true"]
    words = ["--id", "my/x-v0", "dir/a=1.hdf5", "action_low=-1,-2", "--score-min", "-3"]
    assert read_arguments(PAGES["data"].verbs["import"], words) == (
        ["dir/a=1.hdf5", "--id=my/x-v0", "--action-low=-1,-2", "--score-min=-3"],
        [],
    )


@pytest.mark.parametrize("words", [["--run"], ["--run", "--seed", "1"]])
def test_an_option_without_its_value_is_one_sentence(words: list[str], capsys) -> None:
    assert main(["export", *words]) == 2
    assert "--run" in capsys.readouterr().err


def test_a_tilde_is_the_home_folder_whatever_the_shell_does(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    words = [
        "results=~/out",
        "--dataset",
        "~/x.hdf5",
        "trainer.save_trainer_file=~/t",
        "online.start=~",
        "a=b~",
    ]
    assert read_arguments(PAGES["train"], words)[1] == [
        f"results={tmp_path}/out",
        f"dataset={tmp_path}/x.hdf5",
        f"trainer.save_trainer_file={tmp_path}/t",
        f"online.start={tmp_path}",
        "a=b~",
    ]
    assert main(["bench", "dataset=hopper-medium", "results=~nobody-here/out"]) == 2


@pytest.mark.parametrize(
    "words",
    [
        ["bench", "dataset=a", "dataset=b"],
        ["export", "--run", "a", "run=b"],
        ["report", "dataset=a", "--dataset", "b"],
        ["gate", "suite=smoke", "suite=smoke"],
        ["gate", "baseline=a", "baseline=b"],
        ["results", "export", "output=a.csv", "--output", "b.csv"],
        ["report", "results=a", "results=b"],
    ],
)
def test_what_is_worked_on_is_given_once(words: list[str], capsys) -> None:
    assert main(words) == 2
    assert "twice" in capsys.readouterr().err
    settings = ["steps=1", "steps=2"]
    assert read_arguments(PAGES["bench"], settings) == ([], settings), "the last value of a setting counts"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
    ],
)
def test_out_of_memory_is_one_sentence(error: Exception, monkeypatch, capsys) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("cqlbench.commands.train.bench", fail)
    assert main(["bench"]) == 2
    assert "batch_size" in capsys.readouterr().err
    monkeypatch.setattr(module, "out_of_memory", lambda error: False)
    assert main(["bench"]) == 70


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("algorithm.batch_size=100000000", "memory"),
        ("algorithm.critic_hidden=[1000000,1000000]", "memory"),
        ("preset=discrete", "discrete"),
    ],
)
def test_what_the_data_or_the_machine_rule_out_is_refused_before_training(bench, world, word, named) -> None:
    assert_refused(bench(TINY, word), named)
    assert not records(world)


@pytest.mark.parametrize("verb", ["bench", "train"])
def test_training_that_runs_out_of_memory_says_what_to_make_smaller(bench, world, monkeypatch, verb) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    monkeypatch.setattr(Engine, "advance", fail)
    assert_refused(bench(TINY, verb=verb), "memory", "algorithm.batch_size=8")
    assert not records(world)


DIVERGES = ("algorithm.critic_learning_rate=1e30", "algorithm.actor_learning_rate=1e30")


@pytest.mark.parametrize("verb", ["bench", "train"])
def test_seeds_that_failed_are_status_1(bench, world: Path, verb: str) -> None:
    status, out, err = bench("dataset=embedded/tiny-hopper-v0", "seeds=2", "device=cpu", *DIVERGES, verb=verb)
    assert status == 1, err
    assert "failed" in out
    assert len(list((world / "results" / "runs").rglob("seed-*.json"))) == 2


def test_one_failed_seed_of_two_is_status_1(bench, world: Path, monkeypatch) -> None:
    finite = Engine.finite_seeds
    monkeypatch.setattr(Engine, "finite_seeds", lambda engine: [finite(engine)[0], False])
    status, out, err = bench("dataset=embedded/tiny-hopper-v0", "seeds=2", "device=cpu")
    assert (status, "1 of 2 seeds finished" in out) == (1, True), err


@pytest.mark.parametrize("verb", ["train", "gate"])
def test_a_bug_of_ours_is_no_regression(monkeypatch, capsys, verb: str) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(f"cqlbench.commands.{verb}.{verb}", broken)
    assert main([verb]) == 70
    assert "Traceback" in capsys.readouterr().err
