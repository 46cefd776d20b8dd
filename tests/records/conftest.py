from pathlib import Path

import pytest
from made_records import make_record  # noqa: F401

from cqlbench.records.codec import from_json
from cqlbench.records.schema import Record

GOLDEN = Path(__file__).parents[1] / "golden" / "record_v1.json"


@pytest.fixture
def record() -> Record:
    return from_json(GOLDEN.read_text(encoding="utf-8"), GOLDEN)


@pytest.fixture
def golden_text() -> str:
    return GOLDEN.read_text(encoding="utf-8")
