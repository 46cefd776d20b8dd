"""The CUDA graph gives what the steps one by one give; it is dropped with the memory that it writes to."""

import copy
from collections.abc import Callable, Sequence

import pytest
import torch

from cqlbench.algorithms.cql import CQLConfig
from cqlbench.algorithms.networks import DiscreteActions
from cqlbench.algorithms.td3_bc import TD3BCConfig
from cqlbench.engine.diagnostics import Reader
from cqlbench.engine.engine import Engine
from cqlbench.engine.streams import CHUNK

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


@needs_cuda
@pytest.mark.parametrize(
    "changes",
    [{}, {"actions": DiscreteActions(2)}, {"algorithm": TD3BCConfig}],
    ids=["box", "discrete", "delayed actor"],
)
def test_graphed_chunks_equal_single_steps(make_engine, changes) -> None:
    graphed, single = (make_engine(0, 1, device=torch.device("cuda"), **changes) for _ in range(2))
    steps = 0
    while steps < 4 * CHUNK + 3:
        steps += graphed.advance(steps, 4 * CHUNK + 3 - steps)
    for step in range(steps):
        single.step(step)
    assert graphed.state.steps == single.state.steps == steps
    for ours, theirs in zip(graphed.state.tensors(), single.state.tensors(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    for reader in Reader:
        ours, theirs = graphed.drain_diagnostics(reader), single.drain_diagnostics(reader)
        for name, values in theirs.items():
            assert ours[name] == pytest.approx(values, rel=1e-4), name


@needs_cuda
def test_a_dataset_that_does_not_fit_is_fetched_batch_by_batch(make_engine, monkeypatch) -> None:
    monkeypatch.setattr("cqlbench.engine.engine.fits", lambda tensors, device: False)
    engine = make_engine(0, device=torch.device("cuda"))
    assert engine.batch(0).observations.device.type == "cuda"
    assert engine.advance(0, 5 * CHUNK) == 1


def test_without_cuda_steps_are_taken_one_by_one(make_engine) -> None:
    engine, other = make_engine(), make_engine()
    assert engine.advance(0, 5 * CHUNK) == 1
    other.step(0)
    for ours, theirs in zip(engine.state.tensors(), other.state.tensors(), strict=True):
        assert torch.equal(ours, theirs)


class FakeGraph:
    """Replays the chunk that is drawn by taking its steps, on the very tensors that were captured."""

    def __init__(self, engine: Engine, changed: Sequence[torch.Tensor]) -> None:
        self._engine, self._changed, self.replays = engine, list(changed), 0

    def replay(self) -> None:
        now = [*self._engine.state.tensors(), *self._engine._diagnostics.tensors()]
        assert all(mine is theirs for mine, theirs in zip(self._changed, now, strict=True))
        summed, first = list(self._engine._diagnostics.steps), self._engine._noise._chunk * CHUNK
        for step in range(first, first + CHUNK):
            self._engine.step(step)
        self._engine._diagnostics.steps = summed
        self.replays += 1


@pytest.fixture
def make_graphed(make_engine, monkeypatch) -> Callable[..., Engine]:
    """Engines on the CPU that take the way of graphs."""
    monkeypatch.setattr(Engine, "_graphed", property(lambda engine: engine._mixture is None))

    def make(**arguments: object) -> Engine:
        engine = make_engine(**arguments)
        monkeypatch.setattr(
            "cqlbench.engine.engine.capture", lambda steps, changed, device: FakeGraph(engine, changed)
        )
        return engine

    return make


def advance(engine: Engine, first: int, last: int) -> None:
    while first < last:
        first += engine.advance(first, last - first)


@pytest.mark.parametrize("algorithm", [CQLConfig, TD3BCConfig])  # the second's actor begins to learn later
def test_chunks_are_launched_as_graphs_and_the_rest_as_steps(make_engine, make_graphed, algorithm) -> None:
    graphed, single = make_graphed(algorithm=algorithm), make_engine(algorithm=algorithm)
    advance(graphed, 0, 3 * CHUNK + 3)
    assert graphed._graph.replays == 2
    for step in range(3 * CHUNK + 3):
        single.step(step)
    assert all(map(torch.equal, graphed.state.tensors(), single.state.tensors()))
    assert graphed.drain_diagnostics() == single.drain_diagnostics()
    assert all(map(torch.equal, graphed.latest_diagnostics().values(), single.latest_diagnostics().values()))


def test_no_graph_outlives_the_sums_that_it_adds_to(make_graphed) -> None:
    engine = make_graphed()
    fresh = copy.deepcopy(engine.state_dict())
    assert "sums" not in fresh["diagnostics"]
    advance(engine, 0, 2 * CHUNK)
    expected = engine.drain_diagnostics()
    engine.load_state_dict(fresh)
    advance(engine, 0, 2 * CHUNK)  # a stale graph would fail, or lose the second chunk's diagnostics
    assert engine.drain_diagnostics() == expected


def test_what_is_timed_is_what_training_launches(make_graphed, monkeypatch) -> None:
    engine = make_graphed()
    monkeypatch.setattr("cqlbench.engine.engine.time.perf_counter", iter((0.0, 8.0)).__next__)
    assert engine.seconds_per_step(launches=4) == 8 / (4 * CHUNK)
    assert engine.drain_diagnostics() == {}


@pytest.mark.parametrize("steps", [0, 3])
def test_timing_leaves_training_where_it_was(make_engine, steps) -> None:
    engine, other = make_engine(), make_engine()
    for training in (engine, other):
        advance(training, 0, steps)
    engine.seconds_per_step()
    for training in (engine, other):
        advance(training, steps, steps + 2)
    assert all(map(torch.equal, engine.state.tensors(), other.state.tensors()))
    assert engine.drain_diagnostics() == other.drain_diagnostics()


@needs_cuda
def test_a_state_without_sums_is_loaded_into_a_graphed_engine(make_engine) -> None:
    engine = make_engine(device=torch.device("cuda"))
    fresh = copy.deepcopy(engine.state_dict())
    means = []
    for _ in range(2):
        engine.load_state_dict(fresh)
        advance(engine, 0, 4 * CHUNK)
        means.append(engine.drain_diagnostics()["td_loss"])
    assert means[1] == pytest.approx(means[0], rel=1e-4)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="this machine has no second CUDA device")
def test_each_device_captures_on_a_stream_of_its_own(make_engine) -> None:
    engines = [make_engine(device=torch.device("cuda", index)) for index in (1, 0)]
    for engine in engines:
        advance(engine, 0, 3 * CHUNK)
    first, second = (engine.drain_diagnostics()["td_loss"] for engine in engines)
    assert first == pytest.approx(second, rel=1e-4)
