"""Records of made-up scores."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from cqlbench.records.codec import from_json
from cqlbench.records.schema import Evaluation, Record
from cqlbench.records.store import RecordStore

GOLDEN = Path(__file__).parent / "golden" / "record_v1.json"


def replace(value: Any, /, **changes: Any) -> Any:
    """`value` with other fields, be it a part of a record or a dataclass."""
    of_record = isinstance(value, msgspec.Struct)
    return (msgspec.structs.replace if of_record else dataclasses.replace)(value, **changes)


def all_records(folder: Path) -> list[Record]:
    """Every record of a results folder that can be used, those of reruns included."""
    store = RecordStore(folder)
    found = map(store.usable, sorted(store.runs.rglob("seed-*.json")))
    return [record for record in found if record is not None]


@pytest.fixture
def make_record() -> Callable[..., Record]:
    """A finished record of `seed` with these mean scores, one episode 1 below and one 1 above."""
    base = from_json(GOLDEN.read_text(), GOLDEN)

    def make(
        seed: int, scores: list[float], batch: tuple[int, ...] | None = None, **changes: object
    ) -> Record:
        assert base.protocol is not None
        low, high = base.protocol.score_min, base.protocol.score_max
        evaluations = []
        for index, score in enumerate(scores):
            both = np.array([score - 1.0, score + 1.0])
            step = base.budget.steps * (index + 1) // len(scores)
            evaluations.append(Evaluation.of(step, low + both * (high - low) / 100, [100, 300], both, index))
        batch = batch or tuple(sorted({0, 1, 2, seed}))
        return replace(base, seed=seed, seed_batch=batch, evaluations=tuple(evaluations), **changes)

    return make
