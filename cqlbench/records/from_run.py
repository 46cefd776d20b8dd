"""A trained and evaluated seed batch -> one record per seed."""

from collections.abc import Mapping, Sequence
from typing import Any

from cqlbench.data.buffer import Dataset
from cqlbench.data.resolve import Resolution
from cqlbench.evaluation.evaluator import Checkpointed, Evaluator
from cqlbench.evaluation.scores import normalized_score
from cqlbench.records.provenance import Provenance
from cqlbench.records.schema import (
    Budget,
    DatasetFacts,
    Environment,
    Evaluation,
    EvaluationProtocol,
    Record,
    Throughput,
    config_hash,
    diagnostics_row,
)


def records_of(
    evaluator: Evaluator,
    dataset: Dataset,
    resolution: Resolution,
    config: Mapping[str, Any],
    budget: Budget,
    provenance: Provenance,
    total_seconds: float,
) -> list[Record]:
    """One record per seed, in the order of the seed batch.

    Args:
        evaluator: the run's evaluations and diagnostics.
        dataset: what was trained on.
        resolution: how its name was understood.
        config: everything that identifies the run and can change its numbers.
        budget: how much was computed.
        provenance: code and computer.
        total_seconds: from start to end.
    """
    engine, trainer = evaluator.trainer.engine, evaluator.trainer
    per_second = trainer.gradient_steps / trainer.train_seconds
    throughput = Throughput(
        train_seconds=trainer.train_seconds,
        steps_per_second=per_second,
        seed_steps_per_second=per_second * len(engine.seeds),
        evaluation_seconds=evaluator.seconds,
        total_seconds=total_seconds,
    )
    protocol = _protocol(evaluator, resolution)
    facts = _facts(dataset, resolution)
    records = []
    for position, seed in enumerate(engine.seeds):
        reason = failure(evaluator.history, position)
        records.append(
            Record(
                dataset=facts,
                algorithm=engine.config.name,
                config=config,
                config_hash=config_hash(config),
                budget=budget,
                seed=seed,
                seed_batch=engine.seeds,
                protocol=protocol,
                evaluations=tuple(_evaluations(evaluator.history, position)),
                diagnostics=tuple(
                    diagnostics_row(point.step, {k: v[position] for k, v in point.diagnostics.items()})
                    for point in evaluator.history
                ),
                throughput=throughput,
                status="failed" if reason else "finished",
                reason=reason
                or (None if protocol else "Not evaluated: the dataset's card names no environment."),
                **vars(provenance),
            )
        )
    return records


def failure(history: Sequence[Checkpointed], position: int) -> str | None:
    """Why the seed at `position` failed, in one sentence; `None` if it did not."""
    for point in history:
        if not point.finite[position]:
            known = {k: v[position] for k, v in point.diagnostics.items()}
            broken = [name for name, value in known.items() if value != value or abs(value) == float("inf")]
            hint = f" Not finite before it: {', '.join(broken)}." if broken else ""
            return f"Diverged: its parameters were not finite at gradient step {point.step}.{hint}"
        if point.rollout is not None and point.rollout.failed[position]:
            return f"Its policy's actions were not finite in the evaluation at gradient step {point.step}."
    return None


def _evaluations(history: Sequence[Checkpointed], position: int) -> list[Evaluation]:
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
    versions = played.environment
    return EvaluationProtocol(
        deterministic=True,
        episodes=evaluator.episodes,
        environment=Environment(
            id=versions["id"],
            backend=versions["backend"],
            backend_version=versions["backend_version"],
            mujoco_version=versions.get("mujoco_version"),
            kwargs=dict(spec.kwargs),
        ),
        max_episode_steps=spec.max_episode_steps,
        score_min=evaluator.score_min,
        score_max=evaluator.score_max,
        endpoints_source=resolution.card.endpoints_source,
    )


def _facts(dataset: Dataset, resolution: Resolution) -> DatasetFacts:
    card, mean = resolution.card, dataset.returns.mean
    score = None
    if card.score_min is not None and card.score_max is not None:
        score = float(normalized_score(mean, card.score_min, card.score_max))
    return DatasetFacts(
        id=dataset.id,
        content_hash=dataset.content_hash,
        rows=dataset.rows,
        episodes=dataset.returns.episodes,
        dropped_rows=dataset.dropped_rows,
        resolution=resolution.reason,
        notes=(*card.notes, *dataset.notes),
        behaviour_return_mean=mean,
        behaviour_score=score,
    )
