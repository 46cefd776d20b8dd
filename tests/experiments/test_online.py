"""`cqlbench finetune` as typed."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cqlbench.core.errors import ConfigError
from cqlbench.experiments.compose import compose_bench
from cqlbench.experiments.plan import make_plan

Command = Callable[..., tuple[int, str, str]]
ONLINE = ["dataset=tiny-hopper", "seeds=2", "online.frames=20", "online.evaluation_interval=10"]
EVALUATED = "budget.evaluation_interval=3"


@pytest.mark.parametrize(
    ("words", "share"),
    [
        (["algorithm=cql", "online.offline_fraction=null"], "100 to "),
        (["algorithm=calql"], "50 % of each batch"),
        (["algorithm=rebrac", "online.algorithm.cloning_floor=0.5"], "50 % of each batch"),
    ],
)
def test_a_run_is_trained_offline_then_online_and_recorded(
    bench: Command, world: Path, words: list[str], share: str
) -> None:
    status, out, err = bench(*ONLINE, EVALUATED, *words, verb="finetune")
    assert status == 0, err
    assert f"Online   20 frames per seed, 1 gradient step after every 1, {share}" in out
    assert "after 20 frames per seed" in out
    paths = sorted((world / "results").rglob("seed-*.json"))
    assert len(paths) == 2
    record = json.loads(paths[0].read_text())
    assert record["budget"]["name"] == "smoke-finetune"
    assert record["budget"]["steps"] == 26
    assert [evaluation["step"] for evaluation in record["evaluations"]] == [3, 6, 16, 26]
    assert record["online"]["evaluated_frames"] == [0, 0, 10, 20]
    assert record["online"]["offline_steps"] == 6
    assert not record["comparable"]
    assert record["command"][:2] == ["cqlbench", "finetune"]
    assert not list((world / "results").rglob("*.memmap")), "all is trained and recorded"
    assert (paths[0].with_suffix(".npz")).exists()


def test_the_same_command_gives_the_same_scores(bench: Command, world: Path) -> None:
    scores = []
    for name in ("one", "two"):
        assert bench(*ONLINE, EVALUATED, f"results={world / name}", verb="finetune")[0] == 0
        records = [json.loads(path.read_text()) for path in sorted((world / name).rglob("seed-*.json"))]
        scores.append([[e["returns"] for e in record["evaluations"]] for record in records])
    assert scores[0] == scores[1]


def test_evaluation_may_go_by_gradient_steps(bench: Command, world: Path) -> None:
    words = ["online.evaluation_clock=steps", "online.steps_per_batch=3", "online.frames_per_batch=2"]
    status, out, err = bench(*ONLINE, EVALUATED, *words, verb="finetune")
    assert status == 0, err
    assert "3 gradient steps after every 2, 50 % of each batch from the dataset, 3 evaluations" in out
    assert re.search("Time     about .* of gradient steps and at most .* of evaluation; collecting", out)
    record = json.loads(next((world / "results").rglob("seed-0.json")).read_text())
    # After offline step 6, the first batch of three that is 10, 20 and 30 steps on.
    assert [evaluation["step"] for evaluation in record["evaluations"]] == [3, 6, 18, 27, 36]
    assert record["online"]["evaluated_frames"] == [0, 0, 8, 14, 20]


def test_soft_actor_critic_learns_from_nothing(bench: Command, world: Path) -> None:
    words = [*ONLINE, "steps=0", "algorithm=sac", "online.offline_fraction=0", "online.random_frames=5"]
    status, _, err = bench(*words, verb="finetune")
    assert status == 0, err
    record = json.loads(next((world / "results").rglob("seed-0.json")).read_text())
    assert record["online"]["offline_steps"] == 0
    assert record["online"]["offline_score"] is None
    assert record["budget"]["steps"] == 16


def test_a_saved_trainer_is_fine_tuned_as_if_it_had_never_been_saved(bench: Command, world: Path) -> None:
    saved = world / "offline.pt"
    words = ["dataset=tiny-hopper", "seeds=2", EVALUATED]
    assert bench(*words, f"trainer.save_trainer_file={saved}", verb="train")[0] == 0
    policies = []
    for name, extra in (("whole", []), ("started", [f"online.start={saved}"])):
        status, out, err = bench(*ONLINE, EVALUATED, f"results={world / name}", *extra, verb="finetune")
        assert status == 0, err
        steps = f"6 gradient steps (those of {saved}) of 2 seeds on cpu, 1 evaluation of"
        assert (steps if extra else "6 gradient steps of 2 seeds on cpu, 2 evaluations of") in out
        records = [json.loads(path.read_text()) for path in sorted((world / name).rglob("seed-*.json"))]
        assert [record["online"]["offline_steps"] for record in records] == [6, 6]
        policies.append([np.load(path) for path in sorted((world / name).rglob("seed-*.npz"))])
    for whole, started in zip(*policies, strict=True):
        weights = [name for name in whole.files if whole[name].dtype == np.float32]
        assert len(weights) > 4
        assert all(np.array_equal(whole[name], started[name]) for name in weights)


@pytest.mark.parametrize(
    ("start", "sentence"),
    [
        ("nowhere.pt", "There is no saved trainer at nowhere.pt."),
        ("one.pt", "one.pt does not fit this run. It is of the seeds [0], and these are [0, 1]."),
    ],
)
def test_a_start_that_is_none_is_one_sentence(
    bench: Command, world: Path, monkeypatch: pytest.MonkeyPatch, start: str, sentence: str
) -> None:
    monkeypatch.chdir(world)
    words = ["dataset=tiny-hopper", "seeds=1", EVALUATED, "trainer.save_trainer_file=one.pt"]
    assert bench(*words, verb="train")[0] == 0
    status, _, err = bench(*ONLINE, EVALUATED, f"online.start={start}", verb="finetune")
    assert status == 2
    assert err.startswith(f"cqlbench: {sentence}")


def test_envpool_collects_too(bench: Command) -> None:
    status, _, err = bench(*ONLINE, EVALUATED, "online.backend=envpool", "online.environments=2",
                             "online.frames_per_batch=2", verb="finetune")  # fmt: skip
    assert status == 0, err


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("online.offline_fraction=1.5", "online.offline_fraction=1.5"),
        ("online.final_offline_fraction=-1", "online.final_offline_fraction=-1.0"),
        ("online.frames_per_batch=3", "online.frames_per_batch=3"),
        ("online.environments=3", "online.frames_per_batch=3"),
        ("online.frames_per_batch=-2", "online.frames_per_batch=-2"),
        ("online.random_frames=20", "online.random_frames=20"),
        ("online.algorithm.conservative_weight=-1", "online.algorithm.conservative_weight=-1.0"),
        ("online.backend=mujoco", "'mujoco' (choose from auto, envpool, gymnasium)"),
        ("online.evaluation_clock=sun", "'sun' (choose from frames, steps)"),
        ("budget=gate", "online=paper or quick or smoke"),
        ("online.frames=0", "online.frames is 0"),
        ("online=huge", "'huge' (choose from none, paper, quick, smoke)"),
        ("online.frame=3", "'online.frames'"),
    ],
)
def test_a_mistake_is_named(word: str, named: str) -> None:
    words = [each for each in ONLINE if each.partition("=")[0] != word.partition("=")[0]]
    with pytest.raises(ConfigError) as caught:
        compose_bench([*words, word], "smoke", online=True)
    assert named in str(caught.value)


def test_an_offline_run_is_no_fine_tuned_one() -> None:
    offline = make_plan(["dataset=embedded/hopper-medium-v0", "budget=smoke", "device=cpu"])
    tuned = make_plan(["dataset=embedded/hopper-medium-v0", "budget=smoke", "device=cpu"], online=True)
    assert (offline.budget.name, tuned.budget.name) == ("smoke", "smoke-finetune")
    assert "online" not in offline.identity
    assert tuned.identity["online"]["frames"] == 300
    assert tuned.budget.steps == 200 + 300
    assert make_plan(list(tuned.arguments[1:]), online=True).identity == tuned.identity
    both = make_plan(
        ["dataset=embedded/hopper-medium-v0", "budget=quick", "device=cpu", "online.frames=4000"]
    )
    assert both.arguments[0] == "finetune"
    assert make_plan(list(both.arguments[1:]), online=True).identity == both.identity


def test_each_budget_says_how_it_goes_on_and_words_win() -> None:
    composed = compose_bench(
        ["dataset=x", "online.frames=48", "online.evaluation_interval=24"], "quick", online=True
    )
    assert composed.config.online.frames == 48
    assert compose_bench(["dataset=x"], "quick", online=True).config.online.frames == 96_000
    assert compose_bench(["dataset=x"], "quick").config.online.frames == 0
    assert (
        compose_bench(["dataset=x", "budget=paper"], "quick", online=True).config.online.frames == 1_000_000
    )


def test_a_fraction_named_alone_stays_what_it_is() -> None:
    quick = compose_bench(["dataset=x"], "quick", online=True).config.online
    assert (quick.offline_fraction, quick.final_offline_fraction) == (1.0, 0.5)
    words = ["dataset=x", "online.offline_fraction=0.8", "online.anneal_frames=16000"]
    sooner = compose_bench(words, "quick", online=True).config.online
    assert (sooner.offline_fraction, sooner.final_offline_fraction) == (0.8, 0.5)
    alone = compose_bench(["dataset=x", "online.offline_fraction=0"], "quick", online=True)
    assert (alone.config.online.offline_fraction, alone.config.online.final_offline_fraction) == (0, None)
    words = ["dataset=x", "online.offline_fraction=0", "online.final_offline_fraction=0.25"]
    both = compose_bench(words, "quick", online=True).config.online
    assert (both.offline_fraction, both.final_offline_fraction) == (0, 0.25)
    assert alone.changes == ("online.offline_fraction=0",)
    pooled = compose_bench(["dataset=x", "online.offline_fraction=null"], "quick", online=True).config.online
    assert (pooled.offline_fraction, pooled.final_offline_fraction) == (None, None)
    with pytest.raises(ConfigError, match=r"requires online\.offline_fraction"):
        compose_bench([*words[:1], "online.offline_fraction=null", words[2]], "quick", online=True)


def test_the_budgets_interval_is_not_taken_for_one_of_steps() -> None:
    with pytest.raises(
        ConfigError, match=r"needs online\.evaluation_interval too: the budget's is in frames"
    ):
        compose_bench(["dataset=x", "online.evaluation_clock=steps"], "quick", online=True)


def test_a_batch_is_a_frame_of_each_environment_unless_words_say_more() -> None:
    words = ["dataset=x", "online.environments=4"]
    assert compose_bench(words, "quick", online=True).config.online.frames_per_batch == 4
    words = [*words, "online.frames_per_batch=12"]
    assert compose_bench(words, "quick", online=True).config.online.frames_per_batch == 12


def test_a_run_that_ends_offline_needs_a_step() -> None:
    with pytest.raises(ConfigError, match=r"budget\.steps=0 must be a number of at least 1"):
        compose_bench(["dataset=x", "steps=0"], "quick")
