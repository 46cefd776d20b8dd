"""What CUDA would refuse, wait for or lose is refused by a simulated device: see `simulated_device`."""

import contextlib
import gc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from simulated_device import CUDA, Device, DeviceError, OnDevice, simulated
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from cqlbench.algorithms import ALGORITHMS, algorithm_of, sac
from cqlbench.algorithms.algorithm import History, Rows, Spaces
from cqlbench.algorithms.gpu import operations
from cqlbench.algorithms.networks import ActionBox, DiscreteActions
from cqlbench.core.seeding import Purpose
from cqlbench.data.preprocess import ObservationNormalizer, RewardTransform
from cqlbench.engine import cuda_graph, streams
from cqlbench.engine.dataset_tensors import Columns
from cqlbench.engine.engine import Engine
from cqlbench.engine.online.mixture import OnlinePhase
from cqlbench.engine.online.rows import OnlineRows

CHUNK = 2
CPU = torch.device("cpu")
T, O, A = 60, 4, 2  # noqa: E741
LAYERS = ("hidden", "actor_hidden", "critic_hidden")

CASES: dict[str, dict[str, Any]] = {
    **{name: {} for name in ALGORITHMS},
    "cql-rho": {"variant": "rho"},
    "cql-lagrange": {"lagrange": True, "target_action_gap": 0.8, "max_gradient_norm": 1.0},
    "cql-bc-steps": {"bc_steps": 3, "target_update_period": 2, "max_q_backup": True, "gap_clip_max": 1.0},
    "iql-dropout": {"dropout": 0.1},
    "iql-deterministic": {"deterministic": True},
}
DISCRETE = [
    name for name, (_, classes) in ALGORITHMS.items() if any(c.actions == "discrete" for c in classes)
]
CASES |= {f"discrete-{name}": {} for name in DISCRETE}


def make_engine(
    case: str, seeds: int, online: OnlinePhase | None = None, device: torch.device = CUDA, **changes: Any
) -> Engine:
    discrete, name = case.startswith("discrete-"), case.removeprefix("discrete-").partition("-")[0]
    settings = ALGORITHMS[name][0]
    known = vars(settings())
    small = {layers: [6, 5] for layers in LAYERS if layers in known} | {"batch_size": 7}
    few = {"proposals": 2, "context": 3, "embedding_size": 4, "episode_length": 9, "blocks": 1}
    small |= {key: value for key, value in few.items() if key in known}
    config = settings(**(small | CASES.get(case, {}) | changes))
    generator = torch.Generator().manual_seed(0)
    actions = torch.randn(T, A, generator=generator).tanh()
    if discrete:
        actions = torch.nn.functional.one_hot(actions.argmax(1), A).float()
    columns = Columns(
        observations=torch.randn(T, O, generator=generator),
        actions=actions,
        rewards=torch.randn(T, generator=generator),
        next_observations=torch.randn(T, O, generator=generator),
        terminated=torch.rand(T, generator=generator) < 0.1,
    )
    space = DiscreteActions(A) if discrete else ActionBox.from_bounds(-torch.ones(A), torch.ones(A))
    rows = Rows(
        actions.numpy(), columns.rewards.numpy(), columns.terminated.numpy(), np.arange(T) % 10 == 9, -1.0
    )
    found = algorithm_of(config, Spaces(O, space)).columns()
    extra = {name: torch.from_numpy(column(rows)) for name, column in found.items()}
    return Engine(
        config,
        replace(columns, extra=extra),
        ObservationNormalizer(np.ones(O, np.float32), np.full(O, 2, np.float32)),
        RewardTransform(scale=2.0, bias=1.0),
        space,
        range(seeds),
        device,
        online,
    )


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    for module in ("engine", "streams"):
        monkeypatch.setattr(f"cqlbench.engine.{module}.CHUNK", CHUNK)
    monkeypatch.setattr(cuda_graph, "_WARMUP", 1)
    monkeypatch.setattr(operations, "_has_triton", lambda: False)  # a CPU's operations are to be equalled
    gc.freeze()  # collecting before each capture would take most of the time
    with simulated(monkeypatch) as device:
        yield device
    gc.unfreeze()


def advance(engine: Engine, first: int, last: int) -> None:
    while first < last:
        first += engine.advance(first, last - first)


def equal(ours: Engine, theirs: Engine) -> bool:
    pairs = zip(ours.state.tensors(), theirs.state.tensors(), strict=True)
    return all(torch.equal(mine.cpu(), other.cpu()) for mine, other in pairs)


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_graphs_and_single_steps_equal_the_cpus(device, case, seeds) -> None:
    graphed, single = make_engine(case, seeds), make_engine(case, seeds, device=CPU)
    advance(graphed, 0, 3 * CHUNK)
    assert graphed._graph.replays == 2
    assert not device.reads
    for step in range(3 * CHUNK):
        single.step(step)
    assert equal(graphed, single)
    assert graphed.drain_diagnostics() == single.drain_diagnostics()
    observations = torch.ones(seeds, 3, O)
    acted = graphed.act(observations)
    assert isinstance(acted, OnDevice)
    assert torch.equal(acted.cpu(), single.act(observations))
    sampled = graphed.sample_actions(observations, torch.ones(seeds, 3, A, device=CUDA))
    assert torch.equal(sampled.cpu(), single.sample_actions(observations, torch.ones(seeds, 3, A)))
    assert all(map(np.array_equal, graphed.policy(0)[0].values(), single.policy(0)[0].values()))


def test_a_policy_that_looks_back_acts_as_the_cpus(device) -> None:
    graphed, single = make_engine("dt", 2), make_engine("dt", 2, device=CPU)
    history = History(
        torch.ones(2, 3, 2, O), torch.ones(2, 3, 2, A), torch.ones(2, 3, 2), torch.arange(2).expand(2, 3, -1)
    )
    assert torch.equal(graphed.act_after(history).cpu(), single.act_after(history))
    assert graphed.asked_return == single.asked_return


def on_host(tree: Any) -> Any:
    """As a checkpoint's file has it."""
    return tree_map(lambda leaf: leaf.cpu().clone() if isinstance(leaf, Tensor) else leaf, tree)


@pytest.mark.parametrize("case", ["sac", "td3_bc"])
def test_a_checkpoint_is_restored_into_captured_memory(device, case) -> None:
    engine, single = make_engine(case, 2), make_engine(case, 2, device=CPU)
    advance(engine, 0, 2 * CHUNK)
    saved, before = on_host(engine.state_dict()), [each.memory for each in engine.state.tensors()]
    ends = []
    for _ in range(2):
        advance(engine, 2 * CHUNK, 4 * CHUNK)
        ends.append(on_host(engine.state_dict()))
        engine.load_state_dict(saved)
    assert [each.memory for each in engine.state.tensors()] == before
    assert all(map(torch.equal, *(tree_leaves(end["train_state"]) for end in ends)))
    single.load_state_dict(saved)
    advance(single, 2 * CHUNK, 4 * CHUNK)
    assert all(map(torch.equal, tree_leaves(ends[0]["train_state"]), single.state.tensors()))
    assert ends[0]["diagnostics"]["steps"] == ends[1]["diagnostics"]["steps"]


def test_prefetched_rows_are_the_datasets(device, monkeypatch) -> None:
    monkeypatch.setattr("cqlbench.engine.engine.fits", lambda tensors, device: device.type == "cpu")
    engine, single = make_engine("calql", 2), make_engine("calql", 2, device=CPU)
    for each in (engine, single):
        advance(each, 0, 3)
    assert engine._graph is None
    assert not device.reads
    assert equal(engine, single)


@pytest.mark.parametrize(
    ("case", "fraction", "resident"), [("calql", 0.5, True), ("rebrac", None, True), ("calql", 0.5, False)]
)
def test_mixed_batches_are_the_cpus(device, monkeypatch, case, fraction, resident) -> None:
    for module in ("engine", "online.mixture"):
        monkeypatch.setattr(
            f"cqlbench.engine.{module}.fits", lambda tensors, device: resident or device == CPU
        )
    engines = [
        make_engine(case, 2, OnlinePhase(OnlineRows(2, 20, O, A), fraction), where) for where in (CUDA, CPU)
    ]
    generator = torch.Generator().manual_seed(1)
    flags = torch.zeros(2, 10, dtype=torch.bool)
    rows = {
        "observations": torch.randn(2, 10, O, generator=generator),
        "actions": torch.randn(2, 10, A, generator=generator).tanh(),
        "rewards": torch.randn(2, 10, generator=generator),
        "next_observations": torch.randn(2, 10, O, generator=generator),
        "terminated": flags,
        "ended": torch.arange(10).expand(2, -1) % 5 == 4,
    }
    for engine in engines:
        advance(engine, 0, CHUNK)
        engine.begin_online().extend(rows)
        device.forget()
        advance(engine, CHUNK, CHUNK + 2)
    assert not device.reads
    assert equal(*engines)


READS: dict[str, Callable[[Tensor], object]] = {
    "item": lambda values: values.sum().item(),
    "float": lambda values: float(values[0, 0, 0]),
    "tolist": lambda values: values.tolist(),
    "numpy": lambda values: values.numpy(force=True),
    "cpu": lambda values: values.cpu(),
    "nonzero": lambda values: values.nonzero(),
    "a mask as an index": lambda values: values[values > 0],
    "a branch": lambda values: 1 if values.isnan().any() else 0,
    "a comparison": lambda values: torch.equal(values, values),
    "a tensor of the host": lambda values: values + torch.ones(values.shape[-1]),
    "numbers of the host": lambda values: values + torch.tensor([1.0] * values.shape[-1], device=CUDA),
    "a host's generator": lambda values: torch.randn(3, generator=torch.Generator(), device=CUDA),
    "a fresh generator": lambda values: torch.randn(
        3, generator=streams.torch_generator(0, Purpose.NOISE, device=CUDA), device=CUDA
    ),
    "torch's generator": torch.randn_like,
    "dropout": lambda values: torch.nn.functional.dropout(values, 0.5),
}


@pytest.mark.parametrize("defect", READS)
def test_a_loss_that_needs_the_host_is_refused(device, monkeypatch, defect) -> None:
    sound = sac.squared_error

    def faulty(values: Tensor, targets: Tensor) -> object:
        if device.capturing or "host" in defect:
            READS[defect](values.detach())
        return sound(values, targets)

    monkeypatch.setattr(sac, "squared_error", faulty)
    with pytest.raises(DeviceError):
        advance(make_engine("sac", 1), 0, CHUNK)


def replace_state(engine: Engine) -> None:
    engine.state = engine.state.clone()


def replace_sums(engine: Engine) -> None:
    engine._diagnostics.load_state_dict(engine._diagnostics.state_dict(), CUDA)


def replace_noise(engine: Engine) -> None:
    engine._learn_by(engine.config)


@pytest.mark.parametrize("defect", [replace_state, replace_sums, replace_noise])
def test_a_graph_that_outlives_its_memory_is_refused(device, defect) -> None:
    engine = make_engine("sac", 1)
    advance(engine, 0, 2 * CHUNK)
    defect(engine)
    with pytest.raises(DeviceError, match="freed"):
        advance(engine, 2 * CHUNK, 3 * CHUNK)


def test_what_a_warm_up_changes_and_nobody_restores_is_seen(device, monkeypatch) -> None:
    sound = cuda_graph.capture
    monkeypatch.setattr(
        "cqlbench.engine.engine.capture", lambda steps, changed, device: sound(steps, changed[1:], device)
    )
    engine, single = make_engine("bc", 1), make_engine("bc", 1, device=CPU)
    for each in (engine, single):
        advance(each, 0, 2 * CHUNK)
    assert not equal(engine, single)


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize("way", ["resident", "prefetched", "online"])
def test_an_engine_is_freed_with_its_last_reference(device, monkeypatch, no_collector, way) -> None:
    monkeypatch.setattr(
        "cqlbench.engine.engine.fits", lambda tensors, device: way != "prefetched" or device == CPU
    )
    engine = make_engine("calql", 2, OnlinePhase(OnlineRows(2, 20, O, A), 0.5) if way == "online" else None)
    advance(engine, 0, 2 * CHUNK)
    assert (engine._graph is None) == (way == "prefetched")
    left = [weakref.ref(each) for each in (engine, engine.state.tensors()[0].memory)]
    if way == "online":
        engine.begin_online()
    del engine
    assert [each() for each in left] == [None, None]


def left_behind() -> weakref.ref[object]:
    """A graph that only the collector frees."""
    circle: list[object] = [torch.cuda.CUDAGraph()]
    circle.append(circle)
    return weakref.ref(circle[0])


def test_no_graph_is_freed_during_a_capture(device, monkeypatch, no_collector) -> None:
    total, before = torch.zeros(2, device=CUDA), left_behind()

    def steps() -> None:
        total.add_(1)
        left_behind()
        if gc.isenabled():
            gc.collect()  # as it may happen at any moment

    gc.enable()
    cuda_graph.capture(steps, [total], CUDA)
    assert before() is None
    assert gc.isenabled()
    monkeypatch.setattr(cuda_graph, "_nothing_collected", contextlib.nullcontext)
    with pytest.raises(DeviceError, match="freed"):
        cuda_graph.capture(steps, [total], CUDA)


def test_a_graph_does_not_see_what_is_made_anew(device) -> None:
    total, more = torch.zeros(2, device=CUDA), torch.ones(2, device=CUDA)
    graph = cuda_graph.capture(lambda: total.add_(more * 2), [total], CUDA)
    graph.replay()
    more.fill_(5)
    graph.replay()
    assert total.tolist() == [12.0, 12.0]


def test_cuda_takes_numbers_of_the_host_and_nothing_else(device) -> None:
    ours = torch.ones(3, device=CUDA)
    assert (ours * torch.tensor(2.0)).tolist() == [2.0] * 3
    for theirs in (torch.ones(3), torch.ones(1)):
        with pytest.raises(DeviceError, match="mixes"):
            ours * theirs
    with pytest.raises(DeviceError, match="mixes"):
        torch.zeros(()).add_(ours.sum())


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    """The device's own operations in their plain form, with products that may be rounded and that may not."""
    monkeypatch.setattr(operations, "_has_triton", lambda: True)
    torch.set_float32_matmul_precision(request.param)
    yield request.param
    torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize(
    ("fused", "case"),
    [*(("highest", case) for case in CASES), *(("high", case) for case in ("cql", "sac_n", "iql"))],
    indirect=["fused"],
)
def test_its_own_operations_give_what_the_cpus_do(device, fused, case) -> None:
    ours, theirs = make_engine(case, 2), make_engine(case, 2, device=CPU)
    advance(ours, 0, 2 * CHUNK)
    assert ours._graph.replays == 1
    for step in range(2 * CHUNK):
        theirs.step(step)
    rounding = 1e-4 if fused == "highest" else 0.05
    expected = theirs.drain_diagnostics()
    for name, values in ours.drain_diagnostics().items():
        assert values == pytest.approx(expected[name], rel=rounding, abs=rounding), name
    furthest = 2 * CHUNK * 3 * max(stage_rate(theirs))
    for mine, other in zip(ours.state.tensors(), theirs.state.tensors(), strict=True):
        torch.testing.assert_close(
            mine.cpu(), other, rtol=1e-3, atol=1e-6 if fused == "highest" else furthest
        )


def stage_rate(engine: Engine) -> list[float]:
    rates = [rate for stage in engine.algorithm.stages() for rate in stage.rates.values()]
    return [float(rate(torch.zeros(()))) if callable(rate) else rate for rate in rates]


@pytest.mark.parametrize("fused", ["high", "highest"], indirect=True)
def test_a_seed_that_diverges_is_frozen_by_its_own_operations_too(device, fused) -> None:
    engine = make_engine("cql", 2)
    advance(engine, 0, CHUNK)
    engine.state.parameters["critics"]["0.weight"][0].fill_(float("nan"))
    before = [tensor.cpu() for tensor in engine.state.tensors() if tensor.dim()]
    advance(engine, CHUNK, 2 * CHUNK)
    assert engine.finite_seeds() == [False, True]
    after = [tensor.cpu() for tensor in engine.state.tensors() if tensor.dim()]
    assert any(not torch.equal(one[1], other[1]) for one, other in zip(before, after, strict=True))


WIDE = {"actor_hidden": [256] * 3, "critic_hidden": [256] * 3, "batch_size": 256, "proposals": 10}


def of_a_step(monkeypatch: pytest.MonkeyPatch) -> Device:
    with simulated(monkeypatch, computes=False) as device:
        engine = make_engine("cql", 10, **WIDE)
        for step in range(2):  # the first draws the noise
            device.forget()
            engine.step(step)
    return device


def test_a_step_takes_no_more_kernels_and_bytes_than_it_did(monkeypatch) -> None:
    """CQL at ten seeds and the paper's sizes, with torch's operations alone."""
    monkeypatch.setattr(operations, "_has_triton", lambda: False)
    device = of_a_step(monkeypatch)
    assert device.operations.total() <= 627
    assert device.kernels.total() <= 342
    assert device.moved <= 6.56e9


@pytest.mark.parametrize("fused", ["high"], indirect=True)
def test_a_step_of_the_devices_own_operations_takes_no_more_than_it_did(monkeypatch, fused) -> None:
    """The same with the operations of `algorithms/gpu`: at 10,000 steps/s a launch-bound step has no room."""
    device = of_a_step(monkeypatch)
    assert device.operations.total() <= 348
    assert device.kernels.total() <= 150
    assert device.moved <= 1.99e9
