"""The rows of all algorithms: products counted by hand and by torch, eager steps that learn."""

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from speed import algorithms, eager, measure
from speed.__main__ import speed
from speed.recorded import period, recorded_products
from speed.remote import timed
from speed.workload import Product, engine_of
from torch.utils.flop_counter import FlopCounterMode

from cqlbench.algorithms import ALGORITHMS
from cqlbench.engine.room import least_bytes

CPU = torch.device("cpu")


def small(name: str, **changes):
    """An algorithm's settings with small networks."""
    config = ALGORITHMS[name][0]()
    hidden = {key: [8, 8] for key in ("hidden", "actor_hidden", "critic_hidden") if hasattr(config, key)}
    if name == "dt":
        hidden |= {"embedding_size": 8, "heads": 1, "blocks": 1, "context": 3}
    return replace(config, **{"batch_size": 4} | hidden | changes)


def test_recorded_products_by_hand() -> None:
    # Forward three layers; backward a product to each layer's weights and, but for the first, to its inputs.
    recorded = {
        replace(each, count=1): each.count for each in recorded_products(engine_of(small("bc"), 2, CPU, 100))
    }
    assert recorded == {
        Product(2, 4, 11, 8): 1,
        Product(2, 4, 8, 8): 2,
        Product(2, 4, 8, 3): 1,
        Product(2, 11, 4, 8): 1,
        Product(2, 8, 4, 8): 1,
        Product(2, 8, 4, 3): 1,
        Product(2, 4, 3, 8): 1,
    }


@pytest.mark.parametrize("name", ALGORITHMS)
def test_torch_counts_the_same_operations(name: str) -> None:
    engine = engine_of(small(name), 2, CPU, 100)
    with FlopCounterMode(display=False) as counter:
        for step in range(period(engine)):
            engine.step(step)
    counts = counter.get_flop_counts()["Global"]
    expected = sum(flops for operation, flops in counts.items() if "attention" not in str(operation))
    products = recorded_products(engine)
    assert sum(product.flops for product in products) == expected > 0


@pytest.mark.parametrize("name", ["bc", "td3_bc", "iql", "awac"])
def test_an_eager_agent_learns(name: str, monkeypatch) -> None:
    """All that ours moves is moved, and more steps clone the actions of a small dataset better."""
    torch.manual_seed(0)
    monkeypatch.setattr(eager, "made_up", partial(eager.made_up, 8))
    agent = eager._MODULES[name](small(name, hidden=[32, 32], batch_size=16), CPU)
    networks = (agent.actor, agent.critics, agent.target_critics)
    before = [each.clone() for network in networks for each in network.parameters()]
    states, actions = agent.columns[:2]

    def error() -> float:
        return float((agent.actor(states).tanh() - actions).square().mean().detach())

    first = error()
    for _ in range(100):
        agent.step()
    assert error() < first
    after = [each for network in networks for each in network.parameters()]
    assert not any(torch.equal(old, new) for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("name", sorted(set(ALGORITHMS) - set(eager._MODULES) - {"cql"}))
def test_eager_losses_step_as_the_fused_ones(name: str) -> None:
    config = small(name)
    fused = engine_of(config, 1, CPU)
    own = eager._OwnLosses(config, CPU)
    for step in range(3):
        fused.step(step)
        own.step()
    for group, tensors in fused.state.parameters.items():
        for key, tensor in tensors.items():
            torch.testing.assert_close(
                own.state.parameters[group][key].detach(), tensor, rtol=1e-3, atol=2e-5
            )


def test_a_rows_ratios_are_of_its_timings(monkeypatch) -> None:
    config = small("td3_bc")

    def here(make, device: torch.device, clock):
        step = eager._MODULES["td3_bc"](config, CPU).step
        return nullcontext(SimpleNamespace(steps=partial(timed, step, device=device, clock=clock)))

    monkeypatch.setattr(algorithms, "Remote", here)
    monkeypatch.setattr(algorithms, "_TURN_SECONDS", 0.001)
    row = algorithms.measure_algorithm(config, 2, CPU, rounds=2)
    seconds = {name: timing.median for name, timing in row.seconds.items()}
    assert row.over_floor == pytest.approx(seconds["ours"] / seconds["floor"])
    assert row.over_eager == pytest.approx(2 * seconds["eager"] / seconds["ours"])


@pytest.mark.parametrize(("seconds", "every", "count"), [(0.0001, 2, 992), (0.06, 2, 2), (1.0, 1, 1)])
def test_a_turn_is_whole_periods(seconds: float, every: int, count: int) -> None:
    assert measure.steps_per_turn(lambda steps: steps * seconds, CPU, 0.1, every) == count


def test_no_step_of_a_gpu_is_taken_outside_whole_chunks() -> None:
    def refuse(_: int) -> float:
        raise AssertionError

    assert measure.steps_per_turn(refuse, torch.device("cuda"), 0.1) is None


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_is_measured_fits_a_laptops_memory(name: str) -> None:
    algorithm = engine_of(algorithms.config_of(name), 1, CPU, 100).algorithm
    assert least_bytes(algorithm, max(algorithms.SEED_BATCHES), CPU) < 2e9


def test_named_algorithms_are_measured_alone(monkeypatch, tmp_path) -> None:
    named = []
    monkeypatch.setattr("speed.__main__.measure_algorithms", lambda names, *_: named.extend(names) or [])
    monkeypatch.setattr("speed.__main__.measure", None)
    speed(["algorithms=iql,td3_bc", "threads=1", "clock=cpu", "device=cpu", f"results={tmp_path}"], Console())
    assert named == ["iql", "td3_bc"]
    assert len(list(tmp_path.glob("speed/*.json"))) == 1
