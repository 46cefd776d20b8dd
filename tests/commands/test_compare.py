from pathlib import Path

import pytest
from reporting.samples import sample_records

from cqlbench.commands.main import main
from cqlbench.records.store import RecordStore


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for record in sample_records(["d4rl/a-v2", "d4rl/b-v2"], ("cql", "bc", "iql"), 3, 2, 2):
        RecordStore(tmp_path).write(record)
    return tmp_path


def test_two_algorithms_are_compared_in_the_order_named(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", f"results={results}", "algorithm=cql,bc"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "cql is better than bc, by" in text
    assert "iql" not in text
    assert "d4rl/b-v2" in text


def test_one_alone_is_one_sentence(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", f"results={results}", "algorithm=bc"]) == 2
    assert "nothing to compare" in capsys.readouterr().err
