"""`cqlbench train`: the records of `bench`, logged; printed configs; sweeps."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf

TINY = "dataset=tiny-hopper"


def runs(world: Path) -> set[str]:
    root = world / "results" / "runs"
    return {path.relative_to(root).as_posix() for path in root.rglob("seed-*.json")}


def test_train_gives_the_records_of_bench_and_a_log(world, bench) -> None:
    words = (TINY, "seeds=2", "budget.evaluation_interval=3")
    status, out, err = bench(*words, verb="train")
    assert status == 0, err
    trained = runs(world)
    bench(*words, "rerun=true")
    assert {name.replace(".run-2", "") for name in runs(world)} == trained, "the same key"
    returns = [
        [[e["returns"] for e in json.loads(path.read_text())["evaluations"]] for path in paths]
        for paths in (sorted((world / "results").rglob(f"seed-?{run}.json")) for run in ("", ".run-2"))
    ]
    assert returns[0] == returns[1]

    logs = list((world / "results" / "logs").rglob("run-*"))
    assert [path.name for path in logs] == ["run-1"], "bench logs nothing unless it is asked to"
    assert str(logs[0].parent) in out
    assert [step for step, _ in rows(logs[0] / "scalars" / "td_loss.csv")] == [3, 6]
    evaluated = rows(logs[0] / "scalars" / "evaluation" / "return.csv")
    assert [step for step, _ in evaluated] == [3, 6]
    for index, (_, logged) in enumerate(evaluated):
        assert logged == pytest.approx(np.mean([seed[index] for seed in returns[0]]))


def rows(path: Path) -> list[tuple[int, float]]:
    with path.open() as file:
        return [(int(step), float(value)) for step, value in csv.reader(file)]


def test_print_config_prints_what_would_run_and_runs_nothing(world, bench) -> None:
    status, out, err = bench(
        TINY, "algorithm.conservative_weight=5", "seeds=[0,1,2]", "--print-config", verb="train"
    )
    assert status == 0, err
    config = OmegaConf.create(out)
    assert config.algorithm.conservative_weight == 5
    assert config.seeds == [0, 1, 2]
    assert config.trainer.logger == "csv"
    assert config.trainer.log_interval == config.budget.evaluation_interval == 100
    assert not (world / "results").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["algorithm.conservativ_weight=5"], ["'algorithm.conservative_weight'"]),
        (["trainer.log_intervall=5"], ["'trainer.log_interval'"]),
        (["log_interval=5"], ["'trainer.log_interval'"]),
        (["trainer.offline_steps=5"], ["trainer.offline_steps", "budget.steps"]),
        (["trainer.log_interval=0"], ["trainer.log_interval=0"]),
        (["trainer.optim_steps_per_batch=null"], ["trainer.optim_steps_per_batch=None"]),
        (["trainer.optim_steps_per_batch=7"], ["trainer.optim_steps_per_batch=7"]),
        (["trainer.clip_norm=1"], ["trainer.clip_norm", "algorithm.max_gradient_norm"]),
        (["logger=cvs"], ["'cvs' (choose from none, csv"]),
        (["algorithm.discount=0.9,0.99"], ["--multirun"]),
        (["--print-confg"], ["--print-confg"]),
    ],
)
def test_mistakes_are_one_sentence(world, bench, words: list[str], expected: list[str]) -> None:
    status, _, err = bench(TINY, *words, verb="train")
    sentences = [line for line in err.splitlines() if line.startswith("cqlbench: ")]
    assert (status, len(sentences)) == (2, 1), err
    for each in expected:
        assert each in sentences[0]
    assert not runs(world)


def test_multirun_runs_every_job_and_names_those_that_failed(world, bench) -> None:
    status, out, err = bench(TINY, "seeds=0,1", "algorithm.discount=0.9,7", "-m", "logger=none", verb="train")
    assert status == 2
    assert "Job      4 of 4" in out
    assert err.count("algorithm.discount=7.0 must be between 0 and 1") == 3, "twice, and in the last sentence"
    (sentence,) = (line for line in err.splitlines() if line.startswith("cqlbench: "))
    assert "2 of 4 jobs failed" in sentence
    assert {Path(name).name for name in runs(world)} == {"seed-0.json", "seed-1.json"}


def test_a_sweep_with_a_seed_that_failed_has_status_1(world, bench) -> None:
    rates = "algorithm.critic_learning_rate=1e30,1e-4"
    status, out, _ = bench(TINY, "seeds=[0]", rates, "-m", "logger=none", verb="train")
    assert status == 1
    assert "Job      2 of 2" in out


def test_the_configs_of_a_sweep_are_one_yaml_stream(world, bench) -> None:
    status, out, _ = bench(TINY, "algorithm.discount=0.5,0.9", "--multirun", "--print-config", verb="train")
    assert status == 0
    assert [each["algorithm"]["discount"] for each in yaml.safe_load_all(out)] == [0.5, 0.9]


def test_a_path_with_a_comma_is_no_sweep(world, bench) -> None:
    _, _, err = bench("dataset=/a,b.hdf5", verb="train")
    assert "multirun" not in err
    assert "/a,b.hdf5" in err
