"""Scores before and after, and regret, of an evaluator's history."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cqlbench.evaluation.evaluator import EvaluationPoint
from cqlbench.experiments.online_facts import mean_score, online_facts, regret


def point(step: int, frames: int, scores: list[list[float]] | None) -> EvaluationPoint:
    played: Any = object()
    values = None if scores is None else np.array(scores)
    return EvaluationPoint(step, played, values, {}, [True, True], 0.0, frames)


HISTORY = [
    point(50, 0, [[1.0, 3.0], [10.0, 30.0]]),
    point(100, 0, [[10.0, 20.0], [40.0, 60.0]]),
    point(110, 10, [[20.0, 40.0], [0.0, 0.0]]),
    point(120, 20, [[60.0, 80.0], [100.0, 120.0]]),
]


def evaluator(history: list[EvaluationPoint], total_frames: int = 20) -> Any:
    collector = SimpleNamespace(dropped_episodes=3, incidents=("It broke.",))
    trainer = SimpleNamespace(
        total_frames=total_frames, offline_steps=100, collected_frames=total_frames, collector=collector
    )
    return SimpleNamespace(trainer=trainer, history=history)


@pytest.mark.parametrize(
    ("position", "before", "after", "expected"),
    [(0, 15.0, 70.0, 1 - (30 + 70) / 200), (1, 50.0, 110.0, 1 - (0 + 110) / 200)],
)
def test_facts_by_hand(position: int, before: float, after: float, expected: float) -> None:
    facts = online_facts(evaluator(HISTORY), position)
    assert facts is not None
    assert (facts.offline_score, facts.online_score) == (before, after)
    assert facts.cumulative_regret == pytest.approx(expected)
    assert facts.evaluated_frames == (0, 0, 10, 20)
    assert (facts.offline_steps, facts.frames) == (100, 20)
    assert (facts.dropped_episodes, facts.incidents) == (3, ("It broke.",))


def test_a_run_that_only_trained_offline_has_none() -> None:
    assert online_facts(evaluator(HISTORY[:2], total_frames=0), 0) is None


def test_what_is_not_known_is_none() -> None:
    assert mean_score([], 0) is None
    assert mean_score([point(1, 0, None)], 0) is None
    assert mean_score([point(1, 0, [[np.nan, 1.0]])], 0) is None
    assert regret([], 0) is None
    assert regret([HISTORY[2], point(130, 30, None)], 0) is None
