import json
from pathlib import Path

import pytest
from made_records import replace

from cqlbench.records.schema import RecordError
from cqlbench.reporting.gate.baseline import SuiteRun, accept, read_baseline, write_baseline


@pytest.fixture
def run(make_record) -> SuiteRun:
    records = [make_record(seed, [10.0, 50.0 + seed]) for seed in (0, 1, 2)]
    return SuiteRun(records[0].dataset.id, (0, 1, 2), tuple(records))


def test_a_baseline_is_read_as_it_was_written(run: SuiteRun, tmp_path: Path) -> None:
    baseline = accept("s", "last", [run], "2026-01-01T00:00:00+00:00")
    path = tmp_path / "new" / "s.json"
    write_baseline(path, baseline)
    assert read_baseline(path) == baseline
    assert baseline.entries[0].scores == {"0": 50.0, "1": 51.0, "2": 52.0}
    assert [each.name for each in path.parent.iterdir()] == ["s.json"]
    content = json.loads(path.read_text())
    assert content["entries"][0]["git"]["commit"] == run.records[0].git.commit


def test_the_selection_decides_the_scores(run: SuiteRun) -> None:
    (entry,) = accept("s", "mean10", [run], "now").entries
    assert entry.scores == {"0": 30.0, "1": 30.5, "2": 31.0}


def test_seeds_made_apart_have_no_common_speed(run: SuiteRun) -> None:
    apart = (*run.records[:2], replace(run.records[2], created_at="2027-01-01T00:00:00+00:00"))
    (entry,) = accept("s", "last", [replace(run, records=apart)], "now").entries
    assert entry.steps_per_second is None


def test_what_is_not_whole_is_not_accepted(run: SuiteRun) -> None:
    with pytest.raises(RecordError, match=r"cannot be accepted\. No run of seed 2 is recorded"):
        accept("s", "last", [replace(run, records=run.records[:2])], "now")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: text[:100], "cannot be used: "),
        (lambda text: "[]", "cannot be used: "),
        (
            lambda text: text.replace('"schema_version": 2', '"schema_version": 3', 1),
            "schema_version",
        ),
        (lambda text: text.replace('"suite"', '"suit"', 1), "suit"),
        (lambda text: text.replace('"last"', '"first"', 1), "selection"),
    ],
)
def test_a_bad_file_is_one_sentence(run: SuiteRun, tmp_path: Path, change, sentence: str) -> None:
    path = tmp_path / "s.json"
    write_baseline(path, accept("s", "last", [run], "now"))
    path.write_text(change(path.read_text()))
    with pytest.raises(RecordError, match=r".") as caught:
        read_baseline(path)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"There is no accepted baseline .* accept=true"):
        read_baseline(tmp_path / "none.json")


def test_a_folder_that_cannot_be_written_is_one_sentence(run: SuiteRun, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="cannot be written"):
        write_baseline(tmp_path / "file" / "s.json", accept("s", "last", [run], "now"))
