"""A trained and evaluated seed batch -> one record per seed."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cqlbench.data.buffer import Dataset
from cqlbench.data.cards import Card
from cqlbench.data.embedded.policy import policies_return
from cqlbench.data.resolve import Resolution
from cqlbench.evaluation.evaluator import EvaluationPoint, Evaluator
from cqlbench.evaluation.scores import normalized_score
from cqlbench.experiments.plan import Plan, dataset_id
from cqlbench.records.provenance import Provenance, with_tilde
from cqlbench.records.schema import (
    UNCOMMITTED,
    Budget,
    DatasetFacts,
    Environment,
    Evaluation,
    EvaluationProtocol,
    OnlineFacts,
    Record,
    Throughput,
    config_hash,
    diagnostics_row,
)
from cqlbench.records.seed_result import mean_of


def records_of(
    evaluator: Evaluator, dataset: Dataset, plan: Plan, provenance: Provenance, total_seconds: float
) -> list[Record]:
    """One record per seed, in the order of the seed batch; the run took `total_seconds` from start to end."""
    engine, trainer, budget = evaluator.trainer.engine, evaluator.trainer, plan.budget
    because = plan.incomparable_because or ("" if budget.comparable else f"the budget is {budget.name}")
    because = "; ".join(filter(None, (because, UNCOMMITTED if provenance.git.dirty else "")))
    per_second = (trainer.gradient_steps - trainer.started_after) / trainer.train_seconds
    protocol = _protocol(evaluator, plan.resolution)
    shared = vars(provenance) | {
        "dataset": _facts(dataset, plan.resolution),
        "algorithm": engine.config.name,
        "config": plan.identity,
        "config_hash": config_hash(plan.identity),
        "budget": Budget(**{name: getattr(budget, name) for name in Budget.__struct_fields__}),
        "comparable": not because,
        "comparable_reason": because,
        "seed_batch": engine.seeds,
        "protocol": protocol,
        "command": tuple(_public_word(word, plan.resolution) for word in provenance.command),
        "throughput": Throughput(
            train_seconds=trainer.train_seconds,
            steps_per_second=per_second,
            seed_steps_per_second=per_second * len(engine.seeds),
            evaluation_seconds=evaluator.seconds,
            total_seconds=total_seconds,
            products_per_second=evaluator.products.per_second,
        ),
    }
    first = engine.first_diagnostics()
    records = []
    for position, seed in enumerate(engine.seeds):
        reason = failure(evaluator.history, position)
        records.append(
            Record(
                seed=seed,
                evaluations=tuple(_evaluations(evaluator.history, position)),
                diagnostics=tuple(
                    diagnostics_row(point.step, {k: v[position] for k, v in point.diagnostics.items()})
                    for point in evaluator.history
                ),
                status="failed" if reason else "finished",
                reason=reason or (None if protocol else evaluator.unplayed_because),
                online=online_facts(evaluator, position),
                first_steps=tuple(
                    diagnostics_row(step, {name: values[position] for name, values in each.items()})
                    for step, each in enumerate(first, 1)
                ),
                **shared,
            )
        )
    return records


def failure(history: Sequence[EvaluationPoint], position: int) -> str | None:
    """Why the seed at `position` failed, in one sentence; `None` if it did not."""
    for point in history:
        if not point.finite[position]:
            values = {name: each[position] for name, each in point.diagnostics.items()}
            broken = [name for name, value in values.items() if not math.isfinite(value)]
            hint = f" Not finite before it: {', '.join(broken)}." if broken else ""
            return f"Diverged, and was frozen, by gradient step {point.step}.{hint}"
        if point.rollout is not None and point.rollout.failed[position]:
            return (
                f"In the evaluation at gradient step {point.step}, its policy's actions or the simulator's "
                "observations or rewards were not finite."
            )
    return None


def online_facts(evaluator: Evaluator, position: int) -> OnlineFacts | None:
    """Of the seed at `position`; `None` for a run that only trained offline."""
    trainer = evaluator.trainer
    if not trainer.total_frames:
        return None
    played = [point for point in evaluator.history if point.rollout is not None]
    before = [mean_score(point, position) for point in played if not point.frames]
    after = [mean_score(point, position) for point in played if point.frames]
    # CORL's `eval/regret` (algorithms/finetune/cal_ql.py) is of success rates of training episodes, and for
    # tasks with goals only.
    mean = mean_of(after)
    collector: Any = trainer.collector
    return OnlineFacts(
        offline_steps=trainer.offline_steps,
        frames=trainer.collected_frames,
        evaluated_frames=tuple(point.frames for point in played),
        offline_score=before[-1] if before else None,
        online_score=after[-1] if after else None,
        cumulative_regret=None if mean is None else 1 - mean / 100,
        dropped_episodes=collector.dropped_episodes,
        incidents=tuple(collector.incidents),
    )


def mean_score(point: EvaluationPoint, position: int) -> float | None:
    """Over a seed's episodes; `None` where one has no score."""
    mean = math.nan if point.scores is None else float(np.mean(point.scores[position]))
    return mean if math.isfinite(mean) else None


def without_path(text: str, resolution: Resolution) -> str:
    """`text` with a file dataset's path from the home folder on, or only its name where it lies elsewhere."""
    if resolution.card.source != "path" or resolution.path is None:
        return text
    path = str(resolution.path)
    from_home = with_tilde(path)
    return text.replace(path, resolution.path.name if from_home == path else from_home)


def _public_word(word: str, resolution: Resolution) -> str:
    """A word of the command; an absolute path in it may be another one of the same file."""
    key, equals, value = word.partition("=")
    if resolution.card.source == "path" and key == "dataset" and value.startswith("/"):
        shown = without_path(str(resolution.path), resolution)
        return f"{key}{equals}{shown if shown.startswith('~') else f'./{shown}'}"
    return without_path(word, resolution)


def _evaluations(history: Sequence[EvaluationPoint], position: int) -> list[Evaluation]:
    return [
        Evaluation.of(
            point.step,
            point.rollout.returns[position],
            point.rollout.lengths[position],
            None if point.scores is None else point.scores[position],
            point.seconds,
        )
        for point in history
        if point.rollout is not None
    ]


def _protocol(evaluator: Evaluator, resolution: Resolution) -> EvaluationProtocol | None:
    spec = evaluator.spec
    played = next((point.rollout for point in evaluator.history if point.rollout is not None), None)
    if spec is None or played is None:
        return None
    kept = played.environment.keys() & {"id", "backend", "backend_version", "mujoco_version"}
    return EvaluationProtocol(
        deterministic=True,
        episodes=evaluator.episodes,
        environment=Environment(
            **{name: played.environment[name] for name in kept},
            kwargs={**spec.kwargs, **({"wrappers": list(spec.wrappers)} if spec.wrappers else {})},
        ),
        max_episode_steps=spec.max_episode_steps,
        score_min=evaluator.score_min,
        score_max=evaluator.score_max,
        endpoints_source=resolution.card.endpoints_source or resolution.card.endpoints_missing_because,
    )


def _facts(dataset: Dataset, resolution: Resolution) -> DatasetFacts:
    card = resolution.card
    mean, source = behaviour(dataset, card)
    ends = card.endpoints_of_data
    score = None if ends is None else float(normalized_score(mean, *ends))
    return DatasetFacts(
        id=dataset_id(dataset, resolution),
        content_hash=dataset.content_hash,
        rows=dataset.rows,
        episodes=dataset.returns.episodes,
        dropped_rows=dataset.dropped_rows,
        resolution=without_path(resolution.reason, resolution),
        notes=tuple(without_path(note, resolution) for note in (*card.notes, *dataset.notes)),
        behaviour_return_mean=mean,
        behaviour_score=score,
        behaviour_source=source,
    )


def behaviour(dataset: Dataset, card: Card) -> tuple[float, str]:
    """Mean return of what made the data, and whose mean it is.

    A shipped policy's own evaluation is preferred: a stream of episodes that is cut after so many rows holds
    fewer of the long ones than the policy plays, so the mean over its whole episodes is biased.
    """
    if played := policies_return(card.policies):
        count = len(card.policies)
        whose = "behaviour policy" if count == 1 else f"mean of {count} behaviour policies"
        return played[0], f"{whose}, {played[1]:,} evaluated episodes"
    counted = dataset.returns.episodes
    # Equal: none was cut off, or all were; "whole" is then right for the one and wrong for the other.
    which = f"all {counted:,}" if counted == len(dataset.episode_starts) else f"{counted:,} whole ones"
    return dataset.returns.mean, f"dataset episodes, mean of {which}"
