"""Suites as data, and their runs on a dataset of 600 rows."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from made_records import all_records
from rich.console import Console

from cqlbench.core.errors import ConfigError, UserError
from cqlbench.core.paths import benchmarks_dir
from cqlbench.data.cards import all_cards
from cqlbench.experiments.key_names import algorithms_named, group_choices
from cqlbench.experiments.suite import Suite, make_runs, read_suite, suite_names
from cqlbench.reporting.gate.baseline import SuiteRun

TINY = "embedded/tiny-hopper-v0"
WORDS = ["device=cpu", "algorithm.batch_size=8", "steps=6"]


@pytest.mark.parametrize("name", suite_names())
def test_every_suite_lists_datasets_that_have_cards(name: str) -> None:
    suite = read_suite(name)
    assert set(suite.datasets) <= set(all_cards())
    assert (benchmarks_dir() / "budget" / f"{suite.budget}.yaml").is_file()


def test_the_usual_table_is_whole() -> None:
    suite = read_suite("d4rl_locomotion")
    assert len(suite.datasets) == 9
    assert suite.budget == "paper"
    assert {dataset.rpartition("-v")[2] for dataset in suite.datasets} == {"2"}


def test_an_unknown_suite_is_one_sentence_with_the_names() -> None:
    with pytest.raises(ConfigError, match=r"'locomotoin' \(choose from .*d4rl_locomotion"):
        read_suite("locomotoin")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("title: [", "cannot be read"),
        ("- a", "cannot be read"),
        ("title: x\nbudget: quick\ndatasets: [a]\nmore: 1", "`more`"),
        ("title: 3\nbudget: quick\ndatasets: [a]", "title"),
        ("title: x\nbudget: quick\ndatasets: []", "datasets"),
        ("title: x\nbudget: quick\ndatasets: [hopper]", "lists 'hopper', which is the full id of no"),
        (f"title: x\nbudget: quick\ndatasets: [{TINY}, {TINY}]", f"'{TINY}', and that twice"),
        (f"title: x\nbudget: quick\ndatasets: [{TINY}]\nalgorithms: [bc, cqll]", "'cqll', which is no alg"),
        (f"title: x\nbudget: quick\ndatasets: [{TINY}]\nalgorithms: bc", "algorithms"),
    ],
)
def test_a_bad_file_is_one_sentence(
    world: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    (world / "suite").mkdir()
    (world / "suite" / "mine.yaml").write_text(text)
    monkeypatch.setattr("cqlbench.experiments.suite.benchmarks_dir", lambda: world)
    with pytest.raises(ConfigError) as caught:
        read_suite("mine")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def made(world: Path, shortcuts: None) -> Callable[..., list[SuiteRun]]:
    """`made("key=value", …)`: the runs of a suite of one dataset, or of others."""

    def runs(*words: str, datasets: tuple[str, ...] = (TINY,), algorithms: tuple[str, ...] = (), **options):
        suite = Suite("tiny", "Tiny", "smoke", datasets, algorithms)
        every = [*WORDS, f"results={world / 'results'}", *words]
        return make_runs(suite, every, Console(quiet=True), **options)

    return runs


def count(world: Path) -> int:
    return len(all_records(world / "results"))


def test_what_is_recorded_is_not_made_again(world: Path, made) -> None:
    (first,) = made("seeds=2")
    assert [record.seed for record in first.records] == [0, 1]
    assert first.records[0].budget.name == "smoke"  # the suite's
    (again,) = made("seeds=2")
    assert again == first
    assert count(world) == 2
    (more,) = made("seeds=3")
    assert [(record.seed, record.seed_batch) for record in more.records] == [
        (0, (0, 1)),
        (1, (0, 1)),
        (2, (2,)),
    ]
    assert count(world) == 3
    (other,) = made("seeds=2", "algorithm.conservative_weight=3")
    assert other.records[0].config_hash != first.records[0].config_hash
    (remade,) = made("seeds=2", usable=lambda *_: False)
    assert count(world) == 7
    assert remade.records[0].evaluations[-1].returns == first.records[0].evaluations[-1].returns


def test_several_algorithms_learn_from_one_buffer(
    world: Path, made, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(world / "cache")
    runs = made("seeds=1", "algorithm=bc,td3_bc", algorithms=("cql",))
    assert [(run.dataset, run.algorithm) for run in runs] == [(TINY, "bc"), (TINY, "td3_bc")]
    assert [run.records[0].algorithm for run in runs] == ["bc", "td3_bc"]
    assert [len(run.records[0].config["algorithm"]["hidden"]) for run in runs] == [2, 2]
    assert capsys.readouterr().err.count("600/600 rows") == 1  # collected once
    assert len({run.records[0].dataset.content_hash for run in runs}) == 1


def test_a_suites_own_algorithms_are_run_where_none_is_named(world: Path, made) -> None:
    runs = made(train=False, algorithms=("bc", "iql"))
    assert [run.algorithm for run in runs] == ["bc", "iql"]


def test_all_are_all() -> None:
    assert algorithms_named("all") == group_choices("algorithm")
    assert algorithms_named("iql, bc,iql") == ["iql", "bc"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["algorithm=bc,iql", "algorithm.expectile=0.8"], "algorithm.expectile is for algorithm=iql"),
        (["algorithm=bc,iqll"], "'iqll' (choose from"),
        (["algorithm=bc,iql", "algorithm.name=mine"], "algorithm.name"),
    ],
)
def test_what_is_not_for_every_algorithm_is_refused_before_anything_is_made(
    world: Path, made, words: list[str], named: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        made(*words)
    assert named in str(caught.value)
    assert not (world / "results").exists()


def test_a_rerun_makes_all_again(world: Path, made) -> None:
    made("seeds=2")
    made("seeds=2", "rerun=true")
    assert count(world) == 4


def test_a_run_that_was_killed_after_its_last_record_is_completed(world: Path, made, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            "cqlbench.experiments.run.keep_policies", lambda *_: (_ for _ in ()).throw(UserError("killed"))
        )
        made("seeds=2")
    assert list((world / "results").rglob("*.checkpoint"))
    made("seeds=2")
    assert count(world) == 2
    assert len(list((world / "results").rglob("seed-*.npz"))) == 2
    assert not list((world / "results").rglob("checkpoints-*"))


def test_a_seed_that_diverged_is_not_made_again(world: Path, made) -> None:
    (first,) = made("seeds=2", "algorithm.critic_learning_rate=1e30")
    assert {record.status for record in first.records} == {"failed"}
    (again,) = made("seeds=2", "algorithm.critic_learning_rate=1e30")
    assert again.records == first.records


def test_nothing_is_trained_where_it_must_not(world: Path, made) -> None:
    (run,) = made(train=False)
    assert (run.seeds, run.records, run.problem) == ((0, 1, 2), (), "")
    assert count(world) == 0


def test_a_failing_dataset_does_not_stop_the_rest(world: Path, made) -> None:
    missing, whole = made("seeds=1", datasets=("embedded/gone-v0", TINY))
    assert "embedded/gone-v0" in missing.problem
    assert missing.records == ()
    assert [record.seed for record in whole.records] == [0]


def test_neither_does_a_bug(
    world: Path, made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments):
        raise RuntimeError("no memory\nleft")

    monkeypatch.setattr("cqlbench.experiments.suite.bench", broken)
    (run,) = made()
    assert (run.problem, run.crashed) == ("RuntimeError: no memory left", True)
    assert "Traceback" in capsys.readouterr().err


def test_a_full_memory_is_no_bug(world: Path, made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cqlbench.experiments.suite.bench", lambda *_: (_ for _ in ()).throw(MemoryError()))
    (run,) = made()
    assert run.problem
    assert not run.crashed


def test_a_mistyped_word_stops_before_anything_runs(world: Path, made) -> None:
    with pytest.raises(ConfigError, match="Unknown key"):
        made("sedes=3")
    assert count(world) == 0
