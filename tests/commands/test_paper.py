from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def paper(suite_file: Path, bench: Run) -> Run:
    """`paper("key=value", ...)` -> exit status, output, errors, on a suite of one dataset."""
    return lambda *words: bench("seeds=2", "device=cpu", "plots=false", *words, verb="paper")


def test_a_suite_is_run_and_reported_apart(world: Path, paper: Run) -> None:
    status, out, err = paper("suite=mine")
    assert status == 0, err
    folder = world / "results" / "report" / "mine"
    assert "embedded/tiny-hopper-v0" in (folder / "report.md").read_text()
    first = {path.name: path.read_bytes() for path in folder.rglob("*.*")}
    assert "tables" in out
    # Another configuration of the same dataset is none of the suite's.
    status, _, err = paper("suite=mine", "algorithm.conservative_weight=2", f"results={world / 'other'}")
    assert status == 0, err
    status, out, err = paper("suite=mine")
    assert status == 0, err
    assert "Recorded already" in out
    assert {path.name: path.read_bytes() for path in folder.rglob("*.*")} == first


def test_several_algorithms_stand_in_one_table(world: Path, suite_file: Path, paper: Run) -> None:
    suite_file.write_text(f"{suite_file.read_text()}algorithms: [bc, iql]\n")
    status, _, err = paper("suite=mine")
    assert status == 0, err
    scores = (world / "results" / "report" / "mine" / "tables" / "scores.csv").read_text()
    assert {"bc", "iql"} <= set(scores.replace("\n", ",").split(","))


def test_only_the_suites_runs_are_reported(world: Path, paper: Run) -> None:
    assert paper("suite=mine", "algorithm.conservative_weight=2")[0] == 0
    status, _, err = paper("suite=mine")  # two configurations of a cell could not meet
    assert status == 0, err


def test_a_failing_dataset_is_named_at_the_end_and_the_rest_is_reported(
    world: Path, suite_file: Path, paper: Run
) -> None:
    card = (world / "cards" / "tiny.toml").read_text()
    head, card = card.split("[card.", 1)
    broken = card.replace("tiny-hopper", "broken-hopper").replace('["tiny"]', '["gone"]')
    (world / "cards" / "broken.toml").write_text(f"{head}[card.{broken}")
    suite_file.write_text(
        suite_file.read_text().replace("datasets:\n", "datasets:\n  - embedded/broken-hopper-v0\n")
    )
    status, _, err = paper("suite=mine")
    assert status == 2
    assert "1 of 2 runs of mine failed. embedded/broken-hopper-v0: " in err
    assert (world / "results" / "report" / "mine" / "report.md").is_file()


def test_failed_seeds_are_reported_and_status_1(world: Path, paper: Run) -> None:
    for _ in range(2):  # the second time as recorded
        status, _, err = paper("suite=mine", "algorithm.critic_learning_rate=1e30")
        assert status == 1, err
        assert (world / "results" / "report" / "mine" / "report.md").is_file()


def test_a_crash_is_named_at_the_end_with_its_own_status(paper: Run, monkeypatch) -> None:
    monkeypatch.setattr("cqlbench.experiments.suite.bench", lambda *_: 1 // 0)
    status, _, err = paper("suite=mine")
    assert status == 70
    assert "Traceback" in err
    assert "1 of 1 runs" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "No suite was named; say suite=NAME (choose from mine)."),
        (["suite=yours"], "'yours' (choose from mine)"),
        (["suite=mine", "dataset=hopper"], "'dataset=hopper' cannot be set: the suite names its datasets."),
        (["suite=mine", "plots=maybe"], "--plots: 'maybe' must be true or false"),
        (["suite=mine", "select=worst"], "--select: invalid choice: 'worst'"),
        (["suite=mine", "sedes=3"], "Unknown key 'sedes'"),
        (["suite=mine", "budget=huge"], "'huge'"),
    ],
)
def test_mistakes_are_one_sentence(world: Path, paper: Run, words: list[str], sentence: str) -> None:
    status, _, err = paper(*words)
    assert status == 2
    assert sentence in err
    assert not (world / "results").exists()
