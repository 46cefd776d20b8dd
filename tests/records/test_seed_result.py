"""One seed's line of numbers."""

import pytest
from made_records import replace

from cqlbench.records.schema import OnlineFacts, Record
from cqlbench.records.seed_result import mean_score, seed_result


def tuned(record: Record, frames: tuple[int, ...]) -> Record:
    facts = OnlineFacts(
        offline_steps=1000, frames=500, evaluated_frames=frames, offline_score=None, online_score=None,
        cumulative_regret=None,
    )  # fmt: skip
    return replace(record, online=facts)


def test_a_fine_tuned_seed_counts_evaluations_after_the_first_frame_only(record: Record) -> None:
    scores = [mean_score(evaluation) for evaluation in record.evaluations]
    offline = seed_result(record)
    assert (offline.evaluations, offline.late) == (len(scores), pytest.approx(sum(scores) / len(scores)))
    # As if the offline policy had been the best one.
    best_first = replace(
        record,
        evaluations=tuple(
            replace(evaluation, returns=other.returns, scores=other.scores)
            for evaluation, other in zip(record.evaluations, record.evaluations[::-1], strict=True)
        ),
    )
    first, *online = scores[::-1]
    assert first == max(scores)
    result = seed_result(tuned(best_first, (0, *range(1, len(scores)))))
    assert result.evaluations == len(online)
    assert result.late == pytest.approx(sum(online) / len(online))
    assert result.best == max(online)
    assert result.last == online[-1]


def test_a_seed_that_never_had_a_frame_has_no_online_scores(record: Record) -> None:
    result = seed_result(tuned(record, (0,) * len(record.evaluations)))
    assert (result.late, result.best, result.evaluations) == (None, None, 0)
    assert result.last is not None
