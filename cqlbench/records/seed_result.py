"""What a record comes to: a line of numbers per seed. How seeds become one number is `reporting`'s."""

from collections.abc import Sequence

import msgspec
import numpy as np

from cqlbench.records.schema import Evaluation, Record

LATE_EVALUATIONS = 10


class SeedResult(msgspec.Struct, frozen=True):
    """One seed's line. Scores are on the 0-100 scale; `None` stands for what there is not.

    Of a fine-tuned run, `late`, `best` and `evaluations` are of the evaluations after the first frame.

    Attributes:
        status: of its record; `missing` where it left none, `not pooled` where a report leaves it out.
        reason: why it did not finish, or was not evaluated.
        step: gradient steps at the last evaluation.
        last: mean score of the last evaluation.
        late: mean score of the last ten evaluations.
        best: score of the best evaluation, which only an oracle could have picked.
        last_return: mean return of the last evaluation.
        last_length: mean episode length of the last evaluation, in steps.
        evaluations: how many evaluations `late` and `best` were chosen from.
    """

    seed: int
    status: str
    reason: str | None
    step: int | None = None
    last: float | None = None
    late: float | None = None
    best: float | None = None
    last_return: float | None = None
    last_length: float | None = None
    evaluations: int = 0


def seed_result(record: Record) -> SeedResult:
    """The line of one record."""
    if not record.evaluations:
        return SeedResult(record.seed, record.status, record.reason)
    last, scores = record.evaluations[-1], [mean_score(each) for each in record.evaluations]
    if record.online is not None:
        scores = scores[record.online.evaluated_frames.count(0) :]
    return SeedResult(
        seed=record.seed,
        status=record.status,
        reason=record.reason,
        step=last.step,
        last=mean_score(last),
        late=mean_of(scores[-LATE_EVALUATIONS:]),
        best=max((score for score in scores if score is not None), default=None),
        last_return=mean_of(last.returns),
        last_length=mean_of(last.lengths),
        evaluations=len(scores),
    )


def mean_score(evaluation: Evaluation) -> float | None:
    """Mean over episodes; `None` if any episode has none, since the rest would flatter the policy."""
    return mean_of(evaluation.scores)


def mean_of(values: Sequence[float | None]) -> float | None:
    """Mean of the values; `None` if there is none, or any of them is `None`."""
    if not values or None in values:
        return None
    # The same number as `np.mean` in half of the time: large reports take hundreds of thousands of means.
    return float(np.add.reduce(np.array(values, np.float64))) / len(values)
