"""Records of a run that was really trained on real, tiny data; the evaluations are made up."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

from cqlbench.algorithms.cql import CQLConfig
from cqlbench.data.embedded.policy import BehaviourPolicy
from cqlbench.data.load import provide
from cqlbench.data.resolve import resolve
from cqlbench.evaluation.evaluator import EvaluationPoint
from cqlbench.experiments.config import BudgetConfig
from cqlbench.experiments.records import behaviour, mean_score, online_facts, records_of
from cqlbench.records import provenance
from cqlbench.records.codec import to_json
from cqlbench.records.schema import Git
from cqlbench.records.store import RecordStore

BUDGET = BudgetConfig("paper", 6, 6, 2, comparable=True)


def _evaluator():
    first = [{"td_loss": [3.0, 4.0]}, {"td_loss": [5.0, math.nan]}]
    engine = SimpleNamespace(seeds=(0, 1), config=CQLConfig(), first_diagnostics=lambda: first)
    trainer = SimpleNamespace(
        engine=engine, gradient_steps=6, started_after=0, total_frames=0, train_seconds=2.0
    )
    point = EvaluationPoint(6, None, None, {"td_loss": [1.0, 2.0]}, [True, True], 3.0)
    return SimpleNamespace(
        trainer=trainer,
        history=[point],
        spec=None,
        seconds=0.0,
        episodes=2,
        unplayed_because="Not evaluated.",
        products=SimpleNamespace(per_second=7.0),
    )


def _plan(resolution, budget=BUDGET, because=""):
    identity = {"algorithm": {"name": "cql"}}
    return SimpleNamespace(
        resolution=resolution, identity=identity, budget=budget, incomparable_because=because
    )


def _records(name, budget=BUDGET, arguments=(), dirty=False, because=""):
    resolution = resolve(str(name))
    dataset = provide(resolution)
    words = ("bench", f"dataset={resolution.dataset_id}", *arguments)
    origin = replace(provenance.collect("cpu", arguments=words), git=Git(commit="a" * 40, dirty=dirty))
    return records_of(_evaluator(), dataset, _plan(resolution, budget, because), origin, 4.0)


def _file(path, ends=(19, 39)):
    path.parent.mkdir(parents=True, exist_ok=True)
    states = np.random.default_rng(0).normal(size=(41, 3)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file["observations"], file["next_observations"] = states[:-1], states[1:]
        file["actions"] = np.zeros((40, 2), np.float32)
        file["rewards"] = np.ones(40, np.float32)
        file["terminals"] = np.zeros(40, bool)
        file["timeouts"] = np.isin(np.arange(40), ends)
    return path


@pytest.fixture
def home(world, monkeypatch):
    folder = world / "homes" / "ann"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    return folder


def test_a_file_dataset_is_told_by_its_name_and_content_and_not_by_its_place(world, home):
    path = _file(world / "secret" / "project" / "my robot.hdf5")
    record, _ = _records(path, arguments=["seeds=[0,1]"])
    assert record.dataset.id == f"file/my robot.hdf5-{record.dataset.content_hash[:8]}"
    assert record.command == ("cqlbench", "bench", "dataset=./my robot.hdf5", "seeds=[0,1]")
    text = to_json(record)
    for private in (str(path), str(path.parent), "secret", str(world)):
        assert private not in text
    written = RecordStore(world / "results").write(record)
    assert "secret" not in str(written.relative_to(world))


def test_a_file_in_the_home_folder_is_found_again_by_its_command(home):
    path = _file(home / "data" / "robot.hdf5")
    record, _ = _records(path)
    assert record.command == ("cqlbench", "bench", "dataset=~/data/robot.hdf5")
    assert str(home) not in to_json(record)
    assert resolve(record.command[2].partition("=")[2]).path == path


def test_another_absolute_path_of_the_file_is_not_told_and_a_relative_one_is_kept(world, home):
    path = _file(world / "secret" / "robot.hdf5")
    (world / "alias").symlink_to(path.parent)
    resolution = resolve(str(path))
    dataset = provide(resolution)
    told = {}
    for typed in (f"{world}/alias/robot.hdf5", f"{world}/secret/../secret/robot.hdf5", "../x/robot.hdf5"):
        origin = provenance.collect(arguments=["bench", f"dataset={typed}"])
        record, _ = records_of(_evaluator(), dataset, _plan(resolution), origin, 1.0)
        told[typed] = record.command[2]
    assert list(told.values()) == ["dataset=./robot.hdf5"] * 2 + ["dataset=../x/robot.hdf5"]


def test_the_path_is_nowhere_even_if_a_reader_mentions_it(home, world, monkeypatch):
    path = _file(world / "secret" / "robot.hdf5")
    resolution = resolve(str(path))
    dataset = provide(resolution)
    dataset = replace(dataset, notes=(f"{path} has no 'timeouts'.",))
    resolution = replace(resolution, reason=f"'{path}' is a file")
    origin = provenance.collect(arguments=["bench", f"dataset={path}"])
    record, _ = records_of(_evaluator(), dataset, _plan(resolution), origin, 1.0)
    assert "secret" not in to_json(record)
    assert "robot.hdf5 has no 'timeouts'." in record.dataset.notes
    assert record.dataset.resolution == "'robot.hdf5' is a file"


def test_files_of_one_name_and_other_content_have_other_ids(home, world):
    ids = [
        _records(_file(world / str(number) / "robot.hdf5", ends))[0].dataset.id
        for number, ends in enumerate([(19, 39), (9, 39)])
    ]
    assert ids[0] != ids[1]


def test_a_dataset_of_a_card_keeps_its_id_and_its_words(world):
    record, other = _records("tiny-hopper")
    assert record.dataset.id == "embedded/tiny-hopper-v0"
    assert record.command == ("cqlbench", "bench", "dataset=embedded/tiny-hopper-v0")
    assert (record.seed, other.seed) == (0, 1)
    assert record.machine.device == "cpu"


def _evaluated(world, evaluation):
    path = world / "policies" / "tiny.json"
    path.write_text(json.dumps({"recipe": {}, "evaluation": evaluation}))
    return _records("tiny-hopper")[0].dataset


def test_an_embedded_dataset_is_compared_with_its_policys_own_evaluation(world):
    facts = _evaluated(
        world, {"stochastic": {"return_mean": 1607.013848, "score_mean": 50.0, "episodes": 200}}
    )
    assert facts.behaviour_return_mean == 1607.013848
    # (1607.013848 + 20.272305) / (3234.3 + 20.272305) is one half.
    assert facts.behaviour_score == pytest.approx(50.0, abs=1e-3)
    assert facts.behaviour_source == "behaviour policy, 200 evaluated episodes"


@pytest.mark.parametrize(
    "evaluation",
    [
        {},
        {"stochastic": {}},
        {"stochastic": None},
        {"stochastic": {"return_mean": 1.0}},
        {"stochastic": {"return_mean": float("nan"), "episodes": 200}},
        {"stochastic": {"return_mean": "high", "episodes": 200}},
        {"deterministic": {"return_mean": 1.0, "episodes": 200}},
    ],
)
def test_a_policy_without_an_evaluation_gives_way_to_the_datasets_episodes(world, evaluation):
    facts = _evaluated(world, evaluation)
    assert facts.behaviour_source.startswith(f"dataset episodes, mean of {facts.episodes} whole ones")
    assert facts.behaviour_return_mean == provide(resolve("tiny-hopper")).returns.mean


def test_a_policy_whose_evaluation_vanished_meanwhile_loses_no_record(world, monkeypatch):
    resolution = resolve("tiny-hopper")
    dataset = provide(resolution)
    origin = provenance.collect(arguments=["bench"])
    Path(world / "policies" / "tiny.json").unlink()
    record, _ = records_of(_evaluator(), dataset, _plan(resolution), origin, 1.0)
    assert record.dataset.behaviour_source.startswith("dataset episodes")


def test_the_shipped_policies_were_evaluated():
    from cqlbench.data.cards import all_cards

    embedded = [card for card in all_cards().values() if card.policies]
    assert embedded
    for card in embedded:
        evaluations = [BehaviourPolicy.load(name).evaluation["stochastic"] for name in card.policies]
        mean, source = behaviour(None, card)
        assert mean == pytest.approx(np.mean([evaluation["return_mean"] for evaluation in evaluations]))
        many = len(evaluations) > 1
        whose = f"mean of {len(evaluations)} behaviour policies" if many else "behaviour policy"
        assert source == f"{whose}, {200 * len(evaluations):,} evaluated episodes"
        score = 100 * (mean - card.score_min) / (card.score_max - card.score_min)
        assert score == pytest.approx(np.mean([each["score_mean"] for each in evaluations]), abs=0.01)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((19, 39), "dataset episodes, mean of all 2"),
        ((9, 19), "dataset episodes, mean of 2 whole ones"),
        ((), "dataset episodes, mean of all 1"),
    ],
)
def test_the_datasets_episodes_are_counted_and_cut_ones_not_called_whole(home, world, ends, expected):
    assert _records(_file(world / "robot.hdf5", ends))[0].dataset.behaviour_source == expected


def test_each_seed_keeps_its_first_steps_and_the_devices_speed(home, world):
    one, other = _records(_file(home / "data" / "mine.hdf5"))
    assert one.first_steps == ({"step": 1, "td_loss": 3.0}, {"step": 2, "td_loss": 5.0})
    assert other.first_steps[1] == {"step": 2, "td_loss": None}
    assert one.throughput.products_per_second == 7.0


def test_comparable_is_what_the_caller_says_and_never_against_the_budget(world):
    published, _ = _records("tiny-hopper")
    assert (published.comparable, published.comparable_reason) == (True, "")
    embedded, _ = _records("tiny-hopper", because="the data are embedded")
    assert (embedded.comparable, embedded.comparable_reason) == (False, "the data are embedded")
    quick, _ = _records("tiny-hopper", budget=BudgetConfig("quick", 6, 6, 2, comparable=False))
    assert (quick.comparable, quick.comparable_reason) == (False, "the budget is quick")
    assert not hasattr(published.budget, "comparable")
    dirty, _ = _records("tiny-hopper", dirty=True)
    assert (dirty.comparable, "uncommitted" in dirty.comparable_reason) == (False, True)
    assert _records("tiny-hopper", dirty=None)[0].comparable


def point(step: int, frames: int, scores: list[list[float]] | None) -> EvaluationPoint:
    played: Any = object()
    values = None if scores is None else np.array(scores)
    return EvaluationPoint(step, played, values, {}, [True, True], 0.0, frames)


HISTORY = [
    point(50, 0, [[1.0, 3.0], [10.0, 30.0]]),
    point(100, 0, [[10.0, 20.0], [40.0, 60.0]]),
    point(110, 10, [[20.0, 40.0], [0.0, 0.0]]),
    point(120, 20, [[60.0, 80.0], [100.0, 120.0]]),
]


def tuned(history: list[EvaluationPoint], total_frames: int = 20) -> Any:
    collector = SimpleNamespace(dropped_episodes=3, incidents=("It broke.",))
    trainer = SimpleNamespace(
        total_frames=total_frames, offline_steps=100, collected_frames=total_frames, collector=collector
    )
    return SimpleNamespace(trainer=trainer, history=history)


@pytest.mark.parametrize(
    ("position", "before", "after", "expected"),
    [(0, 15.0, 70.0, 1 - (30 + 70) / 200), (1, 50.0, 110.0, 1 - (0 + 110) / 200)],
)
def test_online_facts_by_hand(position: int, before: float, after: float, expected: float) -> None:
    facts = online_facts(tuned(HISTORY), position)
    assert facts is not None
    assert (facts.offline_score, facts.online_score) == (before, after)
    assert facts.cumulative_regret == pytest.approx(expected)
    assert facts.evaluated_frames == (0, 0, 10, 20)
    assert (facts.offline_steps, facts.frames) == (100, 20)
    assert (facts.dropped_episodes, facts.incidents) == (3, ("It broke.",))


def test_a_run_that_only_trained_offline_has_none() -> None:
    assert online_facts(tuned(HISTORY[:2], total_frames=0), 0) is None


def test_what_is_not_known_is_none() -> None:
    assert mean_score(point(1, 0, None), 0) is None
    assert mean_score(point(1, 0, [[np.nan, 1.0]]), 0) is None
    for history in ([HISTORY[0]], [HISTORY[2], point(130, 30, None)]):
        assert online_facts(tuned(history), 0).cumulative_regret is None
