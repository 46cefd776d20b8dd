"""Logs go to a folder of their own; policies lie beside the records of the seeds that finished."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from cqlbench.core.errors import ConfigError
from cqlbench.experiments.train_outputs import open_logger
from cqlbench.records.policy import SavedPolicy


def test_every_run_logs_to_a_new_folder(tmp_path: Path) -> None:
    for number in (1, 2):
        logger = open_logger("csv", tmp_path / "logs")
        logger.log_scalar("x", 0.5, step=number)
        del logger
        assert (tmp_path / "logs" / f"run-{number}" / "scalars" / "x.csv").read_text() == f"{number},0.5\n"


def test_runs_that_begin_at_once_log_to_folders_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        loggers = list(pool.map(lambda _: open_logger("csv", tmp_path), range(16)))
    assert len({logger.experiment.log_dir for logger in loggers}) == 16


def test_tensorboard_reads_back_what_was_logged(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = open_logger("tensorboard", tmp_path)
    logger.log_scalar("evaluation/score", 12.5, step=300)
    logger.experiment.close()
    events = EventAccumulator(str(tmp_path / "run-1"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("evaluation/score")] == [(300, 12.5)]


def test_a_run_logs_to_tensorboard_by_gradient_steps(world, bench) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = ("seeds=1", "budget.evaluation_interval=2", "trainer.log_interval=1", "logger=tensorboard")
    status, _, err = bench("dataset=tiny-hopper", *words, verb="train")
    assert status == 0, err
    events = EventAccumulator(str(next((world / "results" / "logs").rglob("run-1"))))
    events.Reload()
    assert [e.step for e in events.Scalars("evaluation/return")] == [2, 4, 6]
    assert [e.step for e in events.Scalars("td_loss")] == [1, 2, 3, 4, 5, 6]
    record = json.loads(next((world / "results").rglob("seed-0.json")).read_text())
    returns = [np.mean(e["returns"]) for e in record["evaluations"]]
    assert [e.value for e in events.Scalars("evaluation/return")] == pytest.approx(returns)


def test_evaluations_are_logged_on_the_clock_of_everything_else(world, bench) -> None:
    words = ("online.frames=20", "online.evaluation_interval=10", "online.steps_per_batch=3", "seeds=1")
    status, _, err = bench(
        "dataset=tiny-hopper", *words, "trainer.log_interval=1", "logger=csv", verb="finetune"
    )
    assert status == 0, err
    scalars = next((world / "results" / "logs").rglob("scalars"))

    def steps(name: str) -> list[int]:
        return [int(line.partition(",")[0]) for line in (scalars / f"{name}.csv").read_text().splitlines()]

    assert steps("evaluation/return") == [6, 16, 26]
    assert {6, 16, 26} <= set(steps("td_loss"))


@pytest.mark.parametrize("name", [None, "none"])
def test_none_logs_nothing(tmp_path: Path, name: str | None) -> None:
    assert open_logger(name, tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_loggers_that_are_not_there_are_one_sentence(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match="pip install tensorboard"):
        open_logger("tensorboard", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        open_logger("csv", tmp_path / "file")


def test_every_finished_seed_keeps_its_policy_and_a_failed_one_has_none(world, bench, monkeypatch) -> None:
    from cqlbench.evaluation.evaluator import Evaluator

    played = []

    def keep(evaluator: Evaluator, step: int, evaluate=Evaluator._evaluate) -> None:
        evaluate(evaluator, step)
        played.append(evaluator.trainer.engine.act(torch.ones(3, 2, 11)).numpy())
        evaluator.history[-1].finite[1] = False

    monkeypatch.setattr(Evaluator, "_evaluate", keep)
    status, out, _ = bench("dataset=tiny-hopper", "seeds=3")
    assert status == 1
    paths = sorted((world / "results" / "runs").rglob("seed-*.npz"))
    assert [path.name for path in paths] == ["seed-0.npz", "seed-2.npz"]
    run = paths[0].parent.relative_to(world / "results" / "runs").as_posix()
    assert f"Run      {run}\n" in out
    for path, position in zip(paths, (0, 2), strict=True):
        saved = SavedPolicy.load(path)
        assert saved.notes["run"] == run
        x = (np.ones(11, np.float32) - saved.arrays["observation_mean"]) * saved.arrays["observation_scale"]
        for layer, (weight, bias) in enumerate(saved.layers):
            x = (np.maximum(x, 0) if layer else x) @ weight + bias
        np.testing.assert_allclose(np.tanh(x[:3]), played[-1][position, 0], rtol=1e-5, atol=1e-6)
