"""A trained and evaluated seed batch -> one record per seed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cqlbench.core.errors import DatasetError
from cqlbench.data.buffer import Dataset
from cqlbench.data.cards import Card
from cqlbench.data.embedded.policy import BehaviourPolicy
from cqlbench.data.resolve import Resolution
from cqlbench.evaluation.evaluator import EvaluationPoint, Evaluator
from cqlbench.evaluation.scores import normalized_score
from cqlbench.experiments.config import BudgetConfig
from cqlbench.experiments.online_facts import online_facts
from cqlbench.records.provenance import Provenance, with_tilde
from cqlbench.records.schema import (
    UNCOMMITTED,
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
    budget: BudgetConfig,
    provenance: Provenance,
    total_seconds: float,
    *,
    incomparable_because: str = "",
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
        incomparable_because: why the scores may not stand beside published ones; empty if they may.
    """
    incomparable_because = _incomparable(incomparable_because, budget, provenance)
    engine, trainer = evaluator.trainer.engine, evaluator.trainer
    per_second = (trainer.gradient_steps - trainer.started_after) / trainer.train_seconds
    throughput = Throughput(
        train_seconds=trainer.train_seconds,
        steps_per_second=per_second,
        seed_steps_per_second=per_second * len(engine.seeds),
        evaluation_seconds=evaluator.seconds,
        total_seconds=total_seconds,
    )
    protocol = _protocol(evaluator, resolution)
    facts = _facts(dataset, resolution)
    command = tuple(_public_word(word, resolution) for word in provenance.command)
    origin = vars(replace(provenance, command=command))
    records = []
    for position, seed in enumerate(engine.seeds):
        reason = failure(evaluator.history, position)
        records.append(
            Record(
                dataset=facts,
                algorithm=engine.config.name,
                config=config,
                config_hash=config_hash(config),
                budget=Budget(
                    name=budget.name,
                    steps=budget.steps,
                    evaluation_interval=budget.evaluation_interval,
                    evaluation_episodes=budget.evaluation_episodes,
                ),
                comparable=not incomparable_because,
                comparable_reason=incomparable_because,
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
                reason=reason or (None if protocol else evaluator.unplayed_because),
                online=online_facts(evaluator, position),
                **origin,
            )
        )
    return records


def _incomparable(because: str, budget: BudgetConfig, provenance: Provenance) -> str:
    if not budget.comparable:
        because = because or f"the budget is {budget.name}"
    return "; ".join(filter(None, (because, UNCOMMITTED if provenance.git.dirty else "")))


def failure(history: Sequence[EvaluationPoint], position: int) -> str | None:
    """Why the seed at `position` failed, in one sentence; `None` if it did not."""
    for point in history:
        if not point.finite[position]:
            known = {k: v[position] for k, v in point.diagnostics.items()}
            broken = [name for name, value in known.items() if value != value or abs(value) == float("inf")]
            hint = f" Not finite before it: {', '.join(broken)}." if broken else ""
            return f"Diverged, and was frozen, by gradient step {point.step}.{hint}"
        if point.rollout is not None and point.rollout.failed[position]:
            return (
                f"In the evaluation at gradient step {point.step}, its policy's actions or the simulator's "
                "observations or rewards were not finite."
            )
    return None


def dataset_id(dataset: Dataset, resolution: Resolution) -> str:
    """The id in records: a file's says which file it was, and not where on somebody's disk it lay."""
    if resolution.card.source != "path" or resolution.path is None:
        return dataset.id
    return f"file/{resolution.path.name}-{dataset.content_hash[:8]}"


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
        endpoints_source=resolution.card.endpoints_source or resolution.card.endpoints_missing_because,
    )


def _facts(dataset: Dataset, resolution: Resolution) -> DatasetFacts:
    card = resolution.card
    mean, source = _behaviour(dataset, card)
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


def _behaviour(dataset: Dataset, card: Card) -> tuple[float, str]:
    """Mean return of what made the data, and whose mean it is.

    A shipped policy's own evaluation is preferred: a stream of episodes that is cut after so many rows holds
    fewer of the long ones than the policy plays, so the mean over its whole episodes is biased.
    """
    evaluations = [_policy_evaluation(name) for name in card.policies]
    means = [evaluation.get("return_mean") for evaluation in evaluations]
    episodes = [evaluation.get("episodes") for evaluation in evaluations]
    known = [mean for mean in means if isinstance(mean, int | float) and math.isfinite(mean)]
    counts = [count for count in episodes if isinstance(count, int)]
    if card.policies and len(known) == len(counts) == len(card.policies):
        whose = "behaviour policy" if len(known) == 1 else f"mean of {len(known)} behaviour policies"
        return sum(known) / len(known), f"{whose}, {sum(counts):,} evaluated episodes"
    counted = dataset.returns.episodes
    # Equal: none was cut off, or all were; "whole" is then right for the one and wrong for the other.
    which = f"all {counted:,}" if counted == len(dataset.episode_starts) else f"{counted:,} whole ones"
    return dataset.returns.mean, f"dataset episodes, mean of {which}"


def _policy_evaluation(name: str) -> Mapping[str, Any]:
    try:
        evaluation = BehaviourPolicy.load(name).evaluation.get("stochastic", {})
    except DatasetError:
        return {}  # Removed since the dataset was collected: no reason to lose what was trained.
    return evaluation if isinstance(evaluation, Mapping) else {}
