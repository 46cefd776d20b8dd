"""Evaluations happen when they should, with the policies being trained, and keep every episode."""

import itertools
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cqlbench.algorithms.cql import CQLConfig
from cqlbench.algorithms.networks import ActionBox
from cqlbench.data.preprocess import ObservationNormalizer, RewardTransform
from cqlbench.engine.dataset_tensors import Columns
from cqlbench.engine.engine import Engine
from cqlbench.engine.online.mixture import training_batches
from cqlbench.engine.product_rate import ProductRate
from cqlbench.environments.make import EnvironmentSpec
from cqlbench.evaluation.evaluator import Evaluator
from cqlbench.experiments.config import BudgetConfig, OnlineConfig
from cqlbench.experiments.plan import Plan
from cqlbench.experiments.records import failure
from cqlbench.trainer.trainer import CQLTrainer

SPEC = EnvironmentSpec("Hopper-v4", max_episode_steps=30)


def trainer(steps: int, between: int) -> CQLTrainer:
    generator = torch.Generator().manual_seed(0)
    columns = Columns(
        observations=torch.randn(50, 11, generator=generator),
        actions=torch.randn(50, 3, generator=generator).tanh(),
        rewards=torch.randn(50, generator=generator),
        next_observations=torch.randn(50, 11, generator=generator),
        terminated=torch.zeros(50, dtype=torch.bool),
    )
    engine = Engine(
        CQLConfig(actor_hidden=[8], critic_hidden=[8], batch_size=4, proposals=2),
        columns,
        ObservationNormalizer(np.full(11, 0.5, np.float32), np.full(11, 2.0, np.float32)),
        RewardTransform(),
        ActionBox.from_bounds(-torch.ones(3), torch.ones(3)),
        (0, 1),
        torch.device("cpu"),
    )
    return CQLTrainer(engine=engine, offline_steps=steps, optim_steps_per_batch=between, progress_bar=False)


def evaluator(of: CQLTrainer, interval: int, spec: EnvironmentSpec | None = SPEC) -> Evaluator:
    made = Evaluator(of, spec, 3, interval, -20.0, 3000.0)
    of.register_op("post_steps", made)
    return made


def test_the_interval_and_the_last_step_are_evaluated() -> None:
    training = trainer(steps=7, between=1)
    made = evaluator(training, interval=3)
    training.train()
    assert [point.step for point in made.history] == [3, 6, 7]
    for point in made.history:
        assert point.rollout.returns.shape == (2, 3)
        np.testing.assert_allclose(point.scores, 100 * (point.rollout.returns + 20) / 3020)
    assert [failure(made.history, position) for position in (0, 1)] == [None, None]


def test_seconds_count_from_when_the_run_began() -> None:
    training = trainer(steps=1, between=1)
    made = Evaluator(training, None, 3, 1, None, None, began=time.perf_counter() - 1000.0)
    training.register_op("post_steps", made)
    training.train()
    assert 1000.0 < made.history[-1].seconds < 1100.0
    training = trainer(steps=1, between=1)
    made = evaluator(training, interval=1, spec=None)
    training.train()
    assert 0.0 < made.history[-1].seconds < 100.0


def test_a_failed_evaluation_blames_neither_the_policy_nor_the_simulator_alone() -> None:
    training = trainer(steps=1, between=1)
    made = evaluator(training, interval=1)
    training.train()
    played = replace(made.history[0].rollout, failed=np.array([True, False]))
    history = [replace(made.history[0], rollout=played)]
    reason = failure(history, 0)
    assert "step 1" in reason
    assert "policy's actions or the simulator's" in reason
    assert failure(history, 1) is None


def test_each_evaluation_has_its_own_episodes() -> None:
    training = trainer(steps=2, between=1)
    training.engine._by_groups = lambda *_: [{"td_loss": torch.zeros(2)}]
    made = evaluator(training, interval=1)
    training.train()
    first, second = (point.rollout for point in made.history)
    assert not np.array_equal(first.environment_seeds, second.environment_seeds)
    assert not np.array_equal(first.returns, second.returns)


def test_a_diverged_seed_is_named_and_the_other_goes_on() -> None:
    training = trainer(steps=4, between=2)
    made = evaluator(training, interval=2)
    training.engine.state.parameters["critics"]["1.weight"][0] = float("nan")
    training.train()
    assert training.gradient_steps == 4
    assert "Diverged" in failure(made.history, 0)
    assert "td_loss" in failure(made.history, 0)
    assert failure(made.history, 1) is None
    assert np.isfinite(made.history[-1].rollout.returns[1]).all()


def test_training_stops_when_every_seed_has_diverged() -> None:
    training = trainer(steps=40, between=2)
    evaluator(training, interval=2)
    training.engine.state.parameters["actor"]["0.weight"].fill_(float("nan"))
    training.train()
    assert training.gradient_steps == 2


def test_a_history_is_kept_and_loaded_exactly() -> None:
    training = trainer(steps=4, between=2)
    made = evaluator(training, interval=2)
    training.engine.state.parameters["critics"]["1.weight"][0] = float("nan")
    training.engine.state.parameters["actor"]["0.weight"][0] = float("nan")
    training.train()
    state = made.state_dict()
    other = evaluator(trainer(steps=4, between=2), interval=2)
    began = other.began
    other.load_state_dict(state)
    assert other.seconds == made.seconds
    assert other.began == began - state["run_seconds"]
    for ours, theirs in zip(other.history, made.history, strict=True):
        assert ours.finite == theirs.finite == [False, True]
        assert (ours.step, ours.seconds) == (theirs.step, theirs.seconds)
        np.testing.assert_equal(ours.diagnostics, theirs.diagnostics)
        np.testing.assert_array_equal(ours.scores, theirs.scores)
        for name, value in vars(theirs.rollout).items():
            np.testing.assert_array_equal(getattr(ours.rollout, name), value)
            if isinstance(value, np.ndarray):
                assert getattr(ours.rollout, name).dtype == value.dtype
    assert np.isnan(other.history[0].rollout.returns[0]).all()


def test_what_has_been_evaluated_is_not_evaluated_again() -> None:
    training = trainer(steps=4, between=2)
    made = evaluator(training, interval=2)
    made()
    assert made.history == []
    training.train()
    made()
    assert [point.step for point in made.history] == [2, 4]


def test_a_run_whose_seeds_had_all_diverged_does_not_go_on() -> None:
    training = trainer(steps=40, between=2)
    made = evaluator(training, interval=2, spec=None)
    training.engine.state.parameters["actor"]["0.weight"].fill_(float("nan"))
    training.train()
    again = trainer(steps=40, between=2)
    resumed = evaluator(again, interval=2, spec=None)
    again.load_state_dict(training.state_dict())
    resumed.load_state_dict(made.state_dict())
    again.train()
    assert again.gradient_steps == 2


class Collecting:
    """What an evaluator asks of a trainer that collects, without one."""

    def __init__(self, config: Any) -> None:
        online = config.online
        self.engine = SimpleNamespace(
            seeds=(0,), finite_seeds=lambda: [True], drain_diagnostics=dict, device=torch.device("cpu")
        )
        self.frames_per_batch, self.random_frames = online.frames_per_batch, online.random_frames
        self.offline_steps, self.total_frames = config.budget.steps, online.frames
        self.online_steps_per_batch = online.steps_per_batch
        self.gradient_steps = self.collected_frames = 0

    @property
    def steps_due(self) -> int:
        batches = training_batches(self.collected_frames, self.frames_per_batch, self.random_frames)
        return self.offline_steps + batches * self.online_steps_per_batch

    def play(self, made: Evaluator) -> int:
        """How many evaluations there are after the first frame."""
        self.gradient_steps = self.offline_steps
        made()
        before = len(made.history)
        while self.collected_frames < self.total_frames:
            self.collected_frames += self.frames_per_batch
            self.gradient_steps = self.steps_due
            made()
        return len(made.history) - before


@pytest.mark.parametrize("clock", ["frames", "steps"])
@pytest.mark.parametrize("offline_steps", [0, 6])
def test_the_plan_knows_how_often_seeds_are_evaluated_online(
    clock: Any, offline_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProductRate, "measure", lambda _self: None)  # 20 ms for each of 6,000 evaluations
    budget = BudgetConfig(name="mine", steps=offline_steps, evaluation_interval=5, evaluation_episodes=1)
    for batch, steps, interval, random, frames in itertools.product(
        [1, 2, 3], [1, 3], [1, 5, 12, 100], [0, 12, 18], [24, 42]
    ):
        online = OnlineConfig(
            frames=frames,
            frames_per_batch=batch,
            steps_per_batch=steps,
            random_frames=random,
            evaluation_interval=interval,
            evaluation_clock=clock,
        )
        config: Any = SimpleNamespace(budget=budget, online=online)
        plan = Plan(config, None, torch.device("cpu"), "", "", ())  # type: ignore[arg-type]
        collecting = Collecting(config)
        made = Evaluator(
            collecting,  # type: ignore[arg-type]
            None,
            1,
            5,
            None,
            None,
            online_interval=interval,
            online_clock=clock,
        )
        assert collecting.play(made) == plan.online_evaluations, online


def test_a_check_that_raises_breaks_an_evaluation_off_without_a_trace() -> None:
    training = trainer(steps=2, between=2)
    made = evaluator(training, interval=2)
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt

    made.check = check
    with pytest.raises(KeyboardInterrupt):
        training.train()
    assert made.history == []
    assert training.gradient_steps == 2
    made()
    assert [point.step for point in made.history] == [2]


def test_without_an_environment_diagnostics_are_kept() -> None:
    training = trainer(steps=4, between=2)
    made = evaluator(training, interval=2, spec=None)
    training.train()
    assert [point.rollout for point in made.history] == [None, None]
    assert len(made.history[0].diagnostics["td_loss"]) == 2
