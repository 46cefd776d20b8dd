import csv
from pathlib import Path

import pytest
from made_records import replace

from cqlbench.commands.main import main
from cqlbench.records.codec import from_json
from cqlbench.records.schema import config_hash
from cqlbench.records.store import RecordStore

GOLDEN = Path(__file__).parents[1] / "golden" / "record_v1.json"
RUN = "d4rl/hopper-medium-v2/cql/quick-d85c60ab3617"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Three seeds of a run, one of them failed, and another run with another weight."""
    record = from_json(GOLDEN.read_text(), GOLDEN)
    store = RecordStore(tmp_path)
    store.write(record)
    store.write(replace(record, seed=1))
    store.write(replace(record, seed=2, status="failed", reason="Diverged."))
    config = record.config | {"algorithm": record.config["algorithm"] | {"conservative_weight": 5.0}}
    store.write(
        replace(record, config=config, config_hash=config_hash(config), evaluations=record.evaluations[-1:])
    )
    return tmp_path


@pytest.fixture
def say(results, capsys):
    def run(*words):
        status = main(["results", *words, f"results={results}"])
        answer = capsys.readouterr()
        return status, answer.out + answer.err

    return run


def test_list(say):
    status, text = say("list")
    lines = text.splitlines()
    assert status == 0
    assert lines[0].split() == ["Run", "Seeds", "Score", "Return", "Made", "(UTC)", "Settings"]
    (line,) = [line for line in lines if line.startswith(RUN)]
    assert line.split("  ")[1:] == [
        "1 failed, 2 finished", "47.5 ± 0.0", "1,526.8 ± 0.0", "2026-11-22 08:00",
        "conservative_weight=10",
    ]  # fmt: skip
    assert len(lines) == 3
    assert len(say("list", "config=d85c")[1].splitlines()) == 2


def test_show(say):
    status, text = say("show", RUN)
    assert status == 0
    assert "2 of 3 seeds finished" in text
    assert "Again    cqlbench bench dataset=hopper-medium budget=quick 'seeds=[0,1,2]'" in text
    assert say("show", "quick-d85c60ab3617")[1] == text


def test_diff_tells_what_differs_and_nothing_else(say, results):
    other = next(
        path.name for path in (results / "runs/d4rl/hopper-medium-v2/cql").iterdir() if path.name not in RUN
    )
    status, text = say("diff", RUN, other)
    assert status == 0
    rows = {line.split("  ")[0].strip(): line.split() for line in text.splitlines()}
    assert rows["config.algorithm.conservative_weight"][1:] == ["10.0", "5.0"]
    assert "machine" not in text
    assert rows["last"][-1] == "+0.0"
    # 47.5 less the mean of 9.9, 30.0 and 47.5.
    assert rows["last 10 mean"][-1] == "+18.4"


def test_export(say, results):
    output = results / "all.csv"
    status, text = say("export", f"output={output}")
    assert status == 0
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert len(rows) == 3 * 3 + 1
    assert "10 rows" in text
    assert {row["config.algorithm.conservative_weight"] for row in rows} == {"10.0", "5.0"}
    assert say("export", f"output={output}", "config=d85c")[0] == 2
    assert say("export", f"output={output}", "config=d85c", "overwrite=true")[0] == 0
    assert len(list(csv.DictReader(output.read_text().splitlines()))) == 9


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["lst"], "'lst' (choose from 'list', 'show', "),
        (["show"], "required: RUN"),
        (["diff", RUN], "required: RUN2"),
        (["show", "quick-1"], "There is no run 'quick-1'"),
        (["export", "output=x.xls"], "must end in .csv or .parquet"),
        (["list", "data=x"], "'data' (choose from results=, dataset=, "),
    ],
)
def test_mistakes_are_one_sentence(results, words, sentence, capsys):
    where = [f"results={results}"] if words and words[0] != "lst" else []
    assert main(["results", *words, *where]) == 2
    assert sentence in capsys.readouterr().err


def test_list_pools_what_report_pools(say, results):
    golden = from_json(GOLDEN.read_text(), GOLDEN)
    store = RecordStore(results)
    store.write(replace(golden, seed=2, dataset=replace(golden.dataset, content_hash="0" * 64)))
    status, text = say("list")
    assert status == 0
    first, second = [line for line in text.splitlines() if line.startswith(f"{RUN}  ")]
    assert first.split("  ")[1] == "2 finished"
    assert second.split("  ")[1] == "1 finished"
    assert "not pooled" in text
    assert say("show", RUN)[0] == 2
    assert say("show", RUN)[1].count("content hash") == 1
    assert "rerun=true" in say("show", RUN)[1]
    assert "rerun=true" in say("diff", RUN, RUN)[1]
