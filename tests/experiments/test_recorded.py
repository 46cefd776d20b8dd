"""A run that is asked for again is answered from its records; what is missing of it is made, and no more."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from made_records import all_records

from cqlbench.engine.engine import Engine
from cqlbench.records import provenance
from cqlbench.records.schema import Git, Record
from cqlbench.records.store import RecordStore

TINY = "dataset=tiny-hopper"
Bench = Callable[..., tuple[int, str, str]]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A number for every batch of gradient steps that is taken."""
    taken: list[int] = []
    advance = Engine.advance

    def counted(self: Engine, step: int, at_most: int) -> int:
        taken.append(step)
        return advance(self, step, at_most)

    monkeypatch.setattr(Engine, "advance", counted)
    return taken


def records(world: Path) -> dict[int, list[Record]]:
    """Seed -> its records, oldest first."""
    found: dict[int, list[Record]] = {}
    for record in all_records(world / "results"):
        found.setdefault(record.seed, []).append(record)
    return found


def files(world: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (world / "results" / "runs").rglob("*.*")}


def table(out: str) -> str:
    return out[out.index("Policy ") :]


@pytest.mark.parametrize("verb", ["bench", "train"])
def test_what_is_recorded_is_shown_again_and_nothing_is_trained(world, bench, steps, verb: str) -> None:
    status, first, _ = bench(TINY, "seeds=2", verb=verb)
    before, logs = files(world), list((world / "results").rglob("run-*"))
    assert status == 0
    assert "ecorded already" not in first
    steps.clear()
    report = next((world / "results" / "report").rglob("table.md")).parent
    for path in report.iterdir():
        path.unlink()
    status, out, err = bench(TINY, "seeds=2", verb=verb)
    assert status == 0, err
    assert "Recorded already" in out
    assert "rerun=true" in out
    assert table(out) == table(first)
    assert (files(world), steps) == (before, [])
    assert list((world / "results").rglob("run-*")) == logs
    assert {path.name for path in report.iterdir()} >= {"table.md", "learning-curve.png"}


def test_a_rerun_is_made_beside_the_first_run(world, bench) -> None:
    assert bench(TINY, "seeds=2")[0] == 0
    assert bench(TINY, "seeds=2", "rerun=true")[0] == 0
    for first, second in records(world).values():
        assert first.evaluations[-1].returns == second.evaluations[-1].returns
    assert len(list((world / "results").rglob("seed-0.run-2.*"))) == 2


def test_rows_other_than_the_card_s_are_told_and_their_scores_kept_apart(world, bench, steps) -> None:
    assert bench(TINY, "seeds=1")[0] == 0
    [[unknown]] = records(world).values()
    card = world / "cards" / "tiny.toml"
    text = card.read_text()

    def expect(content: str | None) -> tuple[str, Record]:
        steps.clear()
        card.write_text(f'{text}content_hash = "{content}"\n')
        status, out, err = bench(TINY, "seeds=1")
        assert status == 0, err
        return out, max((each for each in records(world)[0]), key=lambda record: record.created_at)

    out, same = expect(unknown.dataset.content_hash)
    assert "Recorded already" in out
    assert (same.config_hash, steps) == (unknown.config_hash, [])
    out, other = expect("0" * 64)
    assert steps
    assert any(line.startswith("Note ") and "000000000000" in line for line in out.splitlines())
    assert "000000000000" in other.dataset.notes[-1]
    assert other.config_hash != unknown.config_hash
    assert other.config["dataset_content"] == other.dataset.content_hash == unknown.dataset.content_hash
    out, again = expect("1" * 64)  # what the card expected matters no more than what it got
    assert "Recorded already" in out
    assert again.config_hash == other.config_hash


def test_only_missing_seeds_are_trained_and_all_are_shown(world, bench) -> None:
    assert bench(TINY, "seeds=2")[0] == 0
    status, out, err = bench(TINY, "seeds=[3,1,0]")
    assert status == 0, err
    assert "Recorded already: seeds 0, 1" in out
    assert "training seeds 3" in out
    assert "3 of 3 seeds finished" in out
    found = records(world)
    assert {seed: [each.seed_batch for each in runs] for seed, runs in found.items()} == {
        0: [(0, 1)],
        1: [(0, 1)],
        3: [(3,)],
    }
    assert "seeds=[3]" in found[3][0].command
    assert bench(TINY, "seeds=[3]", f"results={world / 'alone'}")[0] == 0
    (alone,) = all_records(world / "alone")
    assert alone.evaluations[-1].returns == found[3][0].evaluations[-1].returns


def test_seeds_that_failed_are_tried_again(world, bench, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            "cqlbench.experiments.records.failure", lambda _, position: "Lost." if position else None
        )
        bench(TINY, "seeds=2")
    assert [runs[0].status for runs in records(world).values()] == ["finished", "failed"]
    assert bench(TINY, "seeds=2")[0] == 0
    found = records(world)
    assert [each.status for each in found[1]] == ["failed", "finished"]
    assert len(found[0]) == 1


def test_a_run_of_missing_seeds_that_was_stopped_is_resumed(world, bench, monkeypatch) -> None:
    assert bench(TINY, "seeds=2")[0] == 0
    write, written = RecordStore.write, []

    def killed_after_one(self: RecordStore, record: Record, *check: object) -> Path:
        if written:
            raise KeyboardInterrupt
        written.append(write(self, record))
        return written[0]

    with monkeypatch.context() as patch:
        patch.setattr(RecordStore, "write", killed_after_one)
        with pytest.raises(KeyboardInterrupt):
            bench(TINY, "seeds=4")
    assert sorted(records(world)) == [0, 1, 2]
    status, out, err = bench(TINY, "seeds=4")
    assert status == 0, err
    assert "Resumed  after 6 of 6" in out
    assert {seed: len(runs) for seed, runs in records(world).items()} == {0: 1, 1: 1, 2: 1, 3: 1}
    assert len(list((world / "results").rglob("seed-*.npz"))) == 4
    assert not list((world / "results").rglob("checkpoints-*"))


@pytest.mark.parametrize("word", ["rerun=false", "rerun=true"])
def test_a_run_killed_after_its_last_record_is_completed_and_a_rerun_is_another(
    world, bench, monkeypatch, word: str
) -> None:
    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("cqlbench.experiments.run.keep_policies", killed)
        with pytest.raises(KeyboardInterrupt):
            bench(TINY, "seeds=2")
    assert len(records(world)) == 2
    status, out, err = bench(TINY, "seeds=2", word)
    assert status == 0, err
    assert "2 of 2 seeds finished" in out
    made = 2 if word == "rerun=true" else 1
    assert {seed: len(runs) for seed, runs in records(world).items()} == {0: made, 1: made}
    assert len(list((world / "results").rglob("seed-*.npz"))) == 2
    assert not list((world / "results").rglob("checkpoints-*"))


def orphan(bench: Bench, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """A killed run of seeds 0 and 1, whose checkpoint is left."""
    with monkeypatch.context() as patch:
        patch.setattr("cqlbench.records.provenance.now", lambda: "2030-01-01T00:00:00+00:00")
        patch.setattr(RecordStore, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            bench(TINY, "seeds=2", *words)


def test_a_rerun_resumes_no_run_but_a_rerun(world, bench, monkeypatch, steps) -> None:
    orphan(bench, monkeypatch)
    steps.clear()
    assert bench(TINY, "seeds=2", "rerun=true")[0] == 0
    assert steps
    orphan(bench, monkeypatch, "rerun=true")
    steps.clear()
    assert "Resumed  after 6 of 6" in bench(TINY, "seeds=2", "rerun=true")[1]


def test_checkpoints_of_seeds_that_are_all_recorded_are_removed(world, bench, monkeypatch, steps) -> None:
    orphan(bench, monkeypatch)
    others = world / "others"
    for seed in (0, 1):
        assert bench(TINY, f"seeds=[{seed}]", f"results={others}")[0] == 0
    shutil.copytree(others, world / "results", dirs_exist_ok=True)
    steps.clear()
    assert bench(TINY, "seeds=2")[0] == 0
    assert steps == []
    assert not list((world / "results").rglob("checkpoints-*"))


def test_recorded_seeds_of_a_run_that_is_resumed_are_named(world, bench, monkeypatch) -> None:
    assert bench(TINY, "seeds=[0]")[0] == 0
    orphan(bench, monkeypatch, "resume=never", "rerun=true")
    status, out, err = bench(TINY, "seeds=2")
    assert status == 0, err
    assert "Resumed" in out
    (note,) = (line for line in out.splitlines() if line.startswith("Note ") and "again" in line)
    assert "seeds 0 " in note
    saved = f"trainer.save_trainer_file={world / 'trainer.pt'}"
    assert "seeds 0, 1 are trained again" in bench(TINY, "seeds=3", saved)[1]


def test_a_log_that_is_not_made_is_named(world, bench) -> None:
    assert bench(TINY, "seeds=1")[0] == 0
    assert "logger=" not in bench(TINY, "seeds=1")[1]
    status, out, _ = bench(TINY, "seeds=1", "logger=csv", verb="train")
    assert status == 0
    assert any(line.startswith("Note ") and "logger=csv" in line for line in out.splitlines())
    assert not (world / "results" / "logs").exists()


def test_what_a_process_left_that_was_killed_while_it_tidied_up_is_removed(world, bench) -> None:
    words = (TINY, "seeds=1", "online.frames=10", "online.evaluation_interval=10")
    assert bench(*words, verb="finetune")[0] == 0
    run = next((world / "results" / "runs").rglob("seed-0.json")).parent
    for name in ("checkpoints-0", "collected-0", "checkpoints-1"):
        (run / name).mkdir()
    assert bench(*words, verb="finetune")[0] == 0
    assert [path.name for path in run.iterdir() if path.is_dir()] == ["checkpoints-1"]


def test_an_unfinished_rerun_waits_for_its_own_command(world, bench, monkeypatch, steps) -> None:
    assert bench(TINY, "seeds=1")[0] == 0
    monkeypatch.setattr("cqlbench.records.provenance.now", lambda: "2030-01-01T00:00:00+00:00")
    with monkeypatch.context() as patch:
        patch.setattr(RecordStore, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            bench(TINY, "seeds=1", "rerun=true")
    steps.clear()
    assert "Recorded already" in bench(TINY, "seeds=1")[1]
    assert steps == []
    assert list((world / "results").rglob("*.checkpoint"))
    assert "Resumed  after 6 of 6" in bench(TINY, "seeds=1", "rerun=true")[1]
    assert len(records(world)[0]) == 2


def others(monkeypatch: pytest.MonkeyPatch, commit: str, *, dirty: bool = False, **packages: str) -> None:
    known = provenance.versions()
    monkeypatch.setattr("cqlbench.records.provenance.versions", lambda: known | packages)
    monkeypatch.setattr("cqlbench.records.provenance.git_state", lambda: Git(commit=commit * 40, dirty=dirty))


def test_the_answer_says_that_others_made_it(world, bench, monkeypatch) -> None:
    others(monkeypatch, "a", dirty=True, torch="0.1")
    assert bench(TINY, "seeds=2")[0] == 0
    others(monkeypatch, "b", torch="0.2", matplotlib="0.3")
    status, out, _ = bench(TINY, "seeds=2")
    assert status == 0
    (note,) = (line for line in out.splitlines() if line.startswith("Note "))
    for part in ("seeds 0, 1", "torch is 0.2 here and 0.1 there", "aaaaaaa", "uncommitted"):
        assert part in note
    assert "matplotlib" not in note


def test_seeds_of_other_packages_are_not_added_to(world, bench, monkeypatch) -> None:
    others(monkeypatch, "a", torch="0.1")
    assert bench(TINY, "seeds=2")[0] == 0
    others(monkeypatch, "a", torch="0.2")
    status, out, err = bench(TINY, "seeds=3")
    assert status == 0, err
    assert "trained again" in out
    assert {seed: runs[-1].versions["torch"] for seed, runs in records(world).items()} == dict.fromkeys(
        range(3), "0.2"
    )


def test_another_content_under_the_same_id_is_another_run(world, bench) -> None:
    assert bench(TINY, "seeds=1")[0] == 0
    cards = world / "cards" / "tiny.toml"
    cards.write_text(cards.read_text().replace("rows = 600", "rows = 500"))
    status, out, _ = bench(TINY, "seeds=1")
    assert status == 0
    assert "Recorded already" not in out
    assert [each.dataset.rows for each in records(world)[0]] == [600, 500]


def test_a_trainer_that_is_asked_for_is_made(world, bench, steps) -> None:
    saved = world / "trainer.pt"
    assert bench(TINY, "seeds=1", verb="train")[0] == 0
    words = (TINY, "seeds=1", f"trainer.save_trainer_file={saved}")
    assert bench(*words, verb="train")[0] == 0
    assert saved.exists()
    steps.clear()
    assert bench(*words, verb="train")[0] == 0
    assert steps == []


def test_only_the_trainer_that_made_the_records_stands_for_them(world, bench, steps) -> None:
    saved = world / "trainer.pt"
    words = (TINY, "seeds=2", f"trainer.save_trainer_file={saved}")
    assert bench(*words, "algorithm.discount=0.9")[0] == 0
    assert bench(TINY, "seeds=2")[0] == 0
    steps.clear()
    status, out, _ = bench(*words)  # the file is of the run before
    assert status == 0
    assert "trained again" in out
    assert steps
    steps.clear()
    assert bench(*words)[0] == 0
    assert steps == []
    assert bench(TINY, "seeds=[1,0]", f"trainer.save_trainer_file={saved}")[0] == 0
    assert steps  # its seeds are in another order


def test_a_file_of_others_in_a_trainer_s_place_is_refused(world, bench) -> None:
    assert bench(TINY, "seeds=1")[0] == 0
    (world / "thesis").mkdir()
    (world / "thesis" / "chapter").write_text("1")
    status, _, err = bench(TINY, "seeds=1", f"trainer.save_trainer_file={world / 'thesis'}")
    assert status == 2
    assert "thesis" in err


def test_never_resuming_is_about_checkpoints(world, bench, steps) -> None:
    assert bench(TINY, "seeds=1")[0] == 0
    steps.clear()
    assert bench(TINY, "seeds=1", "resume=never")[0] == 0
    assert steps == []


def test_a_damaged_record_is_named_and_its_seed_made_again(world, bench, steps) -> None:
    assert bench(TINY, "seeds=2")[0] == 0
    path = next((world / "results").rglob("seed-0.json"))
    path.write_bytes(path.read_bytes()[:200])
    steps.clear()
    status, out, err = bench(TINY, "seeds=2")
    assert status == 0, err
    assert str(path) in err
    assert "training seeds 0" in out
    assert steps
    assert len(records(world)[0]) == 1
    assert path.with_name("seed-0.run-2.npz").exists()
