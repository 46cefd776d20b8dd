"""CQLTrainer trains offline by gradient steps, in torchrl's loop."""

import pytest
import torch
from torchrl.trainers import Trainer

from cqlbench.errors import ConfigError
from cqlbench.training.trainer import CQLTrainer


class ListLogger:
    def __init__(self) -> None:
        self.rows = []

    def log_scalar(self, name: str, value: float, step: int) -> None:
        self.rows.append((step, name, value))


def test_it_is_a_torchrl_trainer_without_a_collector(make_engine) -> None:
    trainer = CQLTrainer(engine=make_engine(), offline_steps=25, optim_steps_per_batch=10, progress_bar=False)
    boundaries = []
    trainer.register_op("post_steps", lambda: boundaries.append(trainer.gradient_steps))
    trainer.train()
    assert isinstance(trainer, Trainer)
    assert boundaries == [10, 20, 25]
    assert trainer.gradient_steps == trainer.engine.state.steps == 25


def test_training_fits_the_data(make_engine) -> None:
    engine = make_engine(
        critic_hidden=[64, 64], conservative_weight=0.01, discount=0.0, critic_learning_rate=5e-3
    )
    trainer = CQLTrainer(engine=engine, offline_steps=1500, optim_steps_per_batch=250, progress_bar=False)
    losses = []
    trainer.register_op("post_steps", lambda: losses.append(engine.drain_diagnostics()["td_loss"]))
    trainer.train()
    for seed in range(2):
        assert losses[-1][seed] < 0.5 * losses[0][seed]


def test_request_stop_is_honoured_at_the_next_boundary(make_engine) -> None:
    trainer = CQLTrainer(
        engine=make_engine(), offline_steps=100, optim_steps_per_batch=10, progress_bar=False
    )
    trainer.register_op("post_steps", lambda: trainer.request_stop("enough"))
    trainer.train()
    assert trainer.gradient_steps == 10


def test_a_trainer_goes_on_from_the_middle_of_an_iteration(make_engine) -> None:
    boundaries: list[int] = []

    def trainer() -> CQLTrainer:
        made = CQLTrainer(
            engine=make_engine(), offline_steps=25, optim_steps_per_batch=10, progress_bar=False
        )
        made.register_op("post_steps", lambda: boundaries.append(made.gradient_steps))
        return made

    def stop_at_13() -> None:
        if first.gradient_steps == 13:
            raise KeyboardInterrupt

    whole, first, second = trainer(), trainer(), trainer()
    whole.train()
    boundaries.clear()
    first.register_op("post_optim", stop_at_13)
    with pytest.raises(KeyboardInterrupt):
        first.train()
    state = first.state_dict()
    assert state["train_seconds"] > first.train_seconds
    second.load_state_dict(state)
    second.train()
    assert boundaries == [10, 20, 25]
    assert second.gradient_steps == 25
    assert second.train_seconds > state["train_seconds"]
    assert all(map(torch.equal, whole.engine.state.tensors(), second.engine.state.tensors()))


def test_two_trainers_do_not_disturb_each_other(make_engine) -> None:
    first = CQLTrainer(engine=make_engine(), offline_steps=20, optim_steps_per_batch=10, progress_bar=False)
    first.train()
    second = CQLTrainer(engine=make_engine(), offline_steps=7, optim_steps_per_batch=10, progress_bar=False)
    assert (first.gradient_steps, second.gradient_steps) == (20, 0)
    assert first._last_log is not second._last_log


def test_a_logger_gets_gradient_steps(make_engine) -> None:
    logger = ListLogger()
    CQLTrainer(
        engine=make_engine(), offline_steps=20, logger=logger, log_interval=10, progress_bar=False
    ).train()
    assert [step for step, name, _ in logger.rows if name == "td_loss"] == [10, 20]


@pytest.mark.parametrize("name", ["offline_steps", "optim_steps_per_batch", "log_interval"])
def test_step_counts_must_be_positive(make_engine, name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' is 0"):
        CQLTrainer(engine=make_engine(), **({"offline_steps": 5} | {name: 0}))
