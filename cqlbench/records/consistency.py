"""What must agree between the parts of a record; what each of them must be stands beside its field."""

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cqlbench.records.schema import Evaluation, EvaluationProtocol, Record


def contradictions(record: "Record", config_hash: str) -> Iterator[str]:
    """A clause for each thing in which parts of a record do not agree.

    Args:
        record: the record.
        config_hash: what its config really hashes to.
    """
    if record.config_hash != config_hash:
        yield f"its config_hash is '{record.config_hash}', and its config hashes to '{config_hash}'"
    if record.seed not in record.seed_batch:
        yield f"seed {record.seed} is not in its seed_batch {list(record.seed_batch)}"
    if (record.reason is None) != (record.status == "finished" and record.protocol is not None):
        yield f"status '{record.status}' does not go with reason {record.reason!r}"
    if record.comparable == bool(record.comparable_reason):
        yield f"comparable is {record.comparable} and comparable_reason {record.comparable_reason!r}"
    if (record.dataset.behaviour_return_mean is None) != (record.dataset.behaviour_source is None):
        yield "of behaviour_return_mean and behaviour_source, one is null and the other is not"
    if any("step" not in row for row in record.diagnostics):
        yield "a row of its diagnostics lacks 'step'"
    steps = [evaluation.step for evaluation in record.evaluations]
    if any(later <= earlier for earlier, later in itertools.pairwise(steps)):
        yield "the steps of its evaluations do not ascend"
    for evaluation in record.evaluations:
        yield from _evaluation_contradictions(evaluation, record.protocol)
    if record.status == "finished":
        yield from _missing_at_the_end(record)


def _missing_at_the_end(record: "Record") -> Iterator[str]:
    required = {
        "throughput": record.throughput,
        "dataset.content_hash": record.dataset.content_hash,
        "dataset.rows": record.dataset.rows,
        "dataset.episodes": record.dataset.episodes,
    }
    for name, value in required.items():
        if value is None:
            yield f"it is finished, and its '{name}' is null"
    last = record.evaluations[-1].step if record.evaluations else None
    if last != record.budget.steps and record.protocol is not None:
        yield f"it is finished after {record.budget.steps} steps, and its last evaluation is at step {last}"


def _evaluation_contradictions(
    evaluation: "Evaluation", protocol: "EvaluationProtocol | None"
) -> Iterator[str]:
    where = f"the evaluation at step {evaluation.step}"
    if protocol is None:
        yield f"{where} has no protocol"
        return
    for name in ("returns", "lengths", "scores"):
        if len(getattr(evaluation, name)) != protocol.episodes:
            yield f"{where} has {len(getattr(evaluation, name))} {name}, and {protocol.episodes} episodes"
    low, high = protocol.score_min, protocol.score_max
    for value, score in zip(evaluation.returns, evaluation.scores, strict=True):
        expected = None
        if value is not None and low is not None and high is not None:
            expected = 100.0 * (value - low) / (high - low)
        if expected is None or score is None:
            if expected is not score:
                yield f"{where} scores {score} for return {value}, and its endpoints give {expected}"
        elif not math.isclose(score, expected, rel_tol=1e-5, abs_tol=1e-3):
            yield f"{where} scores {score} for return {value}, and its endpoints give {expected}"
