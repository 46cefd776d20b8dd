"""The speed table's parts: the floor's arithmetic, fair timing, contestants that do what they say."""

import itertools
import json
import signal
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from speed import baselines, measure, memory
from speed.__main__ import speed
from speed.remote import Remote, timed
from speed.settings import run
from speed.workload import Product, Workload, products

from cqlbench.core.errors import ConfigError

CPU = torch.device("cpu")
TINY = Workload(seeds=2, hidden=(8, 8), batch_size=4, proposals=3)


def test_the_floors_products_are_those_of_the_step() -> None:
    # Counted by torch itself: every batched product of a step, forward and backward.
    from torch.utils.flop_counter import FlopCounterMode

    wide = Workload(seeds=2, hidden=(128, 128), batch_size=8, proposals=3)
    steps = baselines.ours(wide, CPU)
    with FlopCounterMode(display=False) as counter:
        steps(1)
    ours = counter.get_total_flops()
    floor = sum(product.flops for product in products(wide))
    # The step computes the observation's share of the first layer per action and pads it with the bias.
    assert floor <= ours <= 1.15 * floor


def test_a_products_operations() -> None:
    assert Product(groups=2, rows=3, inner=5, columns=7, count=2).flops == 2 * 2 * 3 * 5 * 7 * 2


def test_contestants_are_timed_in_turns() -> None:
    calls: list[str] = []

    def contestant(name: str, count: int) -> float:
        calls.append(name)
        return 0.5 * count

    contestants = {name: partial(contestant, name) for name in "ab"}
    timings = measure.time_in_turns(contestants, 4, CPU)
    assert "".join(calls).endswith("ab" * 4)
    assert timings["a"] == measure.Timing(median=0.5, best=0.5, spread=0.0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_torchrls_step_differentiates_what_its_trainer_does(monkeypatch) -> None:
    from torchrl.objectives import CQLLoss

    differentiated = []

    def watch(name: str) -> None:
        original = getattr(CQLLoss, name)

        def watched(*arguments):
            loss, metadata = original(*arguments)
            loss.register_hook(lambda gradient: differentiated.append(name))
            return loss, metadata

        monkeypatch.setattr(CQLLoss, name, watched)

    for name in ("actor_loss", "actor_bc_loss", "cql_loss"):
        watch(name)
    baselines.torchrl(Workload(1, (8, 8), 4, 3), CPU)()
    assert sorted(differentiated) == ["actor_loss", "cql_loss"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_every_contestant_takes_steps_and_the_ratios_are_theirs(monkeypatch) -> None:
    def here(make, device: torch.device):
        return nullcontext(SimpleNamespace(steps=partial(timed, make(device), device=device)))

    monkeypatch.setattr(measure, "Remote", here)  # a process for each takes long to start
    monkeypatch.setattr(measure, "_TURN_SECONDS", 0)
    row, busy = measure.measure_one(TINY, CPU, rounds=2, most_beside=1)
    assert (row.beside, busy.beside) == (0, 1)
    seconds = {name: timing.median for name, timing in row.seconds.items()}
    assert row.over_floor == pytest.approx(seconds["ours"] / (2 * seconds["floor"]))
    assert row.over_torchrl == pytest.approx(2 * seconds["torchrl"] / seconds["ours"])
    assert row.over_torchrl_without_vmap == pytest.approx(
        2 * seconds["torchrl_without_vmap"] / seconds["ours"]
    )
    assert row.over_plain == pytest.approx(2 * seconds["plain"] / seconds["ours"])
    assert row.seed_steps_per_second == pytest.approx(2 / seconds["ours"])


def test_a_process_of_its_own_takes_steps() -> None:
    with Remote(partial(baselines.plain, Workload(1, (8, 8), 4, 3)), CPU) as remote:
        assert remote.steps(2) > 0


def test_the_plain_step_computes_the_projects_critic_loss() -> None:
    alone = Workload(1, (8, 8), 4, 3)
    plain = baselines._Plain(alone, CPU)
    before = [parameter.clone() for parameter in plain.critics.parameters()]
    plain.step()
    moved = itertools.starmap(torch.equal, zip(before, plain.critics.parameters(), strict=True))
    assert not any(moved)


def test_memory_stays_flat(monkeypatch) -> None:
    monkeypatch.setattr(memory, "_WARMUP_STEPS", 100)
    growth = memory.memory_growth(300, CPU)
    assert growth.steps == 300
    assert growth.percent < 2


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("rounds=0", "rounds"),
        ("rounds=x", "rounds.*x"),
        ("colour=red", "colour"),
        ("tf32=maybe", "tf32.*maybe"),
        ("device=toaster", "toaster"),
        ("algorithms=iql,ppo", "ppo"),
        ("clock=sun", "clock"),
        ("clock=cpu", "clock"),
        ("threads=0", "threads"),
        ("busy=-1", "busy"),
    ],
)
def test_mistakes_are_one_sentence(argument: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        speed([argument], Console())


def test_a_signal_is_one_sentence(capsys) -> None:
    assert run("speed", lambda *_: signal.raise_signal(signal.SIGINT)) == 130
    assert capsys.readouterr().err == "speed: interrupted (SIGINT); nothing is left half-written.\n"


def test_the_record_says_where_it_was_measured(tmp_path) -> None:
    timing = measure.Timing(0.1, 0.09, 0.01)
    row = measure.Row("8x2", 1, 0, 10, 10, 1.2, 1.1, 2, 2, 2, None, 5, 0.1, None, {"ours": timing}, [])
    content = json.loads(measure.write({"rows": [asdict(row)], "memory": None}, tmp_path, CPU).read_text())
    assert content["machine"]["device"] == "cpu"
    assert content["rows"][0]["over_floor"] == 1.2
    assert content["memory"] is None
