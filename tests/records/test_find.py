"""Runs and their policies are found by what `bench` prints."""

from pathlib import Path

import pytest

from cqlbench.records.find import find_policy
from cqlbench.records.schema import RecordError

RUN = "d4rl/hopper-v2/cql/quick-0123456789ab"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two runs of three seeds; of the first, seed 1 was made again and seed 2 failed."""
    for run, names in (
        (RUN, ["seed-0", "seed-1", "seed-1.run-2", "seed-10"]),
        ("d4rl/hopper-v2/cql/quick-ffff456789ab", ["seed-3"]),
    ):
        for name in names:
            path = tmp_path / "runs" / run / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            path.with_suffix(".npz").touch()
    (tmp_path / "runs" / RUN / "seed-2.json").touch()
    return tmp_path


@pytest.mark.parametrize(
    "run",
    [
        RUN,
        "cql/quick-0123456789ab",
        "quick-0123456789ab",
        "0123456789ab",
        "{results}/runs/" + RUN,
        "{results}/report/" + RUN + "/",
        "{results}/runs/" + RUN + "/seed-0.json",
    ],
)
def test_a_run_is_found_by_its_name_its_end_or_a_path(results: Path, run: str) -> None:
    found = find_policy(results, run.format(results=results))
    assert found == results / "runs" / RUN / "seed-0.npz"


def test_the_newest_policy_of_a_seed_counts(results: Path) -> None:
    assert find_policy(results, RUN, 1).name == "seed-1.run-2.npz"
    assert find_policy(results, RUN, 10).name == "seed-10.npz"


@pytest.mark.parametrize(
    ("run", "seed", "sentence"),
    [
        ("quick-0123456789ac", None, RUN),
        ("", None, "no run ''"),
        ("..", None, "no run '..'"),
        (RUN, 2, "seed 2 (choose from 0, 1, 10)"),
    ],
)
def test_what_is_not_there_is_one_sentence(results: Path, run: str, seed: int | None, sentence: str) -> None:
    with pytest.raises(RecordError) as caught:
        find_policy(results, run, seed)
    assert sentence in str(caught.value)


def test_a_name_that_two_runs_have_is_refused(results: Path) -> None:
    other = results / "runs" / "d4rl/walker-v2/cql/quick-0123456789ab" / "seed-0.json"
    other.parent.mkdir(parents=True)
    other.touch()
    with pytest.raises(RecordError, match=r"could be any of the runs .*hopper.*, .*walker"):
        find_policy(results, "quick-0123456789ab")
    assert find_policy(results, RUN).name == "seed-0.npz"
    with pytest.raises(RecordError, match="has no policies"):
        find_policy(results, other.parent.relative_to(results / "runs").as_posix())


def test_no_runs_at_all_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no run has been recorded there"):
        find_policy(tmp_path, "x")
