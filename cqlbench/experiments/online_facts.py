"""What the record of a fine-tuned seed says of its online phase."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cqlbench.evaluation.evaluator import EvaluationPoint, Evaluator
from cqlbench.records.schema import OnlineFacts


def online_facts(evaluator: Evaluator, position: int) -> OnlineFacts | None:
    """Of the seed at `position`; `None` for a run that only trained offline."""
    trainer = evaluator.trainer
    if not trainer.total_frames:
        return None
    played = [point for point in evaluator.history if point.rollout is not None]
    before = [point for point in played if not point.frames]
    after = [point for point in played if point.frames]
    collector: Any = trainer.collector
    return OnlineFacts(
        offline_steps=trainer.offline_steps,
        frames=trainer.collected_frames,
        evaluated_frames=tuple(point.frames for point in played),
        offline_score=mean_score(before[-1:], position),
        online_score=mean_score(after[-1:], position),
        cumulative_regret=regret(after, position),
        dropped_episodes=collector.dropped_episodes,
        incidents=tuple(collector.incidents),
    )


def regret(evaluations: Sequence[EvaluationPoint], position: int) -> float | None:
    """Mean of 1 − score / 100 over evaluations.

    After CORL's `eval/regret` (algorithms/finetune/cal_ql.py), which has success rates of training episodes,
    and is there for tasks with goals only, where this has scores of evaluations.

    `None` where there are none, or one has no score.
    """
    scores = [mean_score([point], position) for point in evaluations]
    known = [score for score in scores if score is not None]
    return 1 - float(np.mean(known)) / 100 if scores and len(known) == len(scores) else None


def mean_score(evaluations: Sequence[EvaluationPoint], position: int) -> float | None:
    """Over the episodes of `evaluations`; `None` where there are none, or one has no score."""
    if not evaluations or any(point.scores is None for point in evaluations):
        return None
    mean = float(np.mean([point.scores[position] for point in evaluations if point.scores is not None]))
    return mean if np.isfinite(mean) else None
