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


def test_an_algorithm_without_a_record_is_named(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", f"results={results}", "algorithm=cql,iqll"]) == 2
    said = capsys.readouterr().err
    assert "'iqll'" in said
    assert "did you mean 'iql'?" in said
    assert "choose from bc, cql, iql" in said


def test_it_is_written_with_the_diagram_of_ranks(results: Path, tmp_path: Path) -> None:
    for record in sample_records(["d4rl/c-v2"], ("cql", "bc", "iql"), 3, 2, 2):
        RecordStore(results).write(record)
    folder = tmp_path / "out"
    assert main(["compare", f"results={results}", f"output={folder}"]) == 0
    assert "## Mean ranks" in (folder / "comparison.md").read_text()
    assert (folder / "critical-difference.pdf").read_bytes().startswith(b"%PDF")
    assert "n = 3 seeds, 2 episodes" in (folder / "critical-difference.txt").read_text()
    (folder / "comparison.md").write_text("mine")
    assert main(["compare", f"results={results}", f"output={folder}"]) == 2
    assert (folder / "comparison.md").read_text() == "mine"


def test_one_alone_is_one_sentence(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", f"results={results}", "algorithm=bc"]) == 2
    assert "nothing to compare" in capsys.readouterr().err
