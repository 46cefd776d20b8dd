"""What a saved trainer must be to be fine-tuned; how it goes on is tested in test_fine_tuning.py."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cqlbench.core.errors import ConfigError
from cqlbench.engine.engine import Engine
from cqlbench.trainer.initial_checkpoint import SavedStart
from cqlbench.trainer.trainer import CQLTrainer


@pytest.fixture
def saved(tmp_path: Path, make_engine: Callable[..., Engine]) -> Path:
    path = tmp_path / "trainer.pt"
    CQLTrainer(engine=make_engine(0, 1), offline_steps=3, save_trainer_file=path, progress_bar=False).train()
    return path


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)
    return path


def test_steps_and_parameters_are_taken_over(saved: Path, make_engine: Callable[..., Engine]) -> None:
    start, engine = SavedStart.read(saved), make_engine(0, 1, calibrated=False, conservative_weight=1.0)
    start.load_into(engine)
    assert start.steps == engine.state.steps == 3
    assert SavedStart.read(saved).digest == start.digest


def test_a_start_of_other_diagnostics_trains_on(saved: Path, make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(0, 1, lagrange=True)
    SavedStart.read(saved).load_into(engine)
    assert "multiplier_gradient_norm" in engine.step(3)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda state: state.pop("engine"), "without a seed batch"),
        (lambda state: state["engine"].pop("of"), "saved by an older cqlbench"),
        (lambda state: state["engine"].update(online=5), "saved while fine-tuning"),
    ],
)
def test_what_cannot_be_started_from_is_one_sentence(
    saved: Path, change: Callable[[dict[str, Any]], object], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        SavedStart.read(changed(saved, change))


def test_other_seeds_and_other_data_are_refused(saved: Path, make_engine: Callable[..., Engine]) -> None:
    with pytest.raises(ConfigError, match=r"of the seeds \[0, 1\], and these are \[1, 0\]"):
        SavedStart.read(saved).load_into(make_engine(1, 0))
    changed(saved, lambda state: state["engine"]["of"]["mean"].add_(1))
    with pytest.raises(ConfigError, match="normalised observations by other data"):
        SavedStart.read(saved).load_into(make_engine(0, 1))
