"""What a run needs at least, against what an engine allocates."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from cqlbench.algorithms import algorithm_of
from cqlbench.algorithms.algorithm import Algorithm, AlgorithmConfig, Batch, Spaces
from cqlbench.algorithms.awac import AWACConfig
from cqlbench.algorithms.bc import BCConfig
from cqlbench.algorithms.cql import CQL, CQLConfig, DiscreteCQL
from cqlbench.algorithms.dt import DT, DTConfig
from cqlbench.algorithms.iql import IQLConfig
from cqlbench.algorithms.networks import ActionBox, ActionSpace, DiscreteActions
from cqlbench.algorithms.rebrac import ReBRACConfig
from cqlbench.algorithms.sac import SACConfig
from cqlbench.algorithms.sac_n import EDACConfig, SACNConfig
from cqlbench.algorithms.step import TrainState, initial_state, loss_gradients
from cqlbench.algorithms.td3_bc import TD3BCConfig
from cqlbench.core.devices import on_threads
from cqlbench.core.errors import ConfigError
from cqlbench.engine import room
from cqlbench.engine.streams import IndexStream, NoiseStream

CPU = torch.device("cpu")
CONFIG = CQLConfig(actor_hidden=[16, 8], critic_hidden=[32, 16], critics=3, batch_size=64, proposals=5)


def cql(config: CQLConfig, observation_size: int, action_size: int) -> CQL:
    box = ActionBox.from_bounds(-torch.ones(action_size), torch.ones(action_size))
    return CQL(config, Spaces(observation_size, box))


@pytest.mark.parametrize(
    "config", [CONFIG, replace(CONFIG, max_q_backup=True), replace(CONFIG, conservative_weight=0.0)]
)
def test_it_counts_what_is_allocated(config: CQLConfig) -> None:
    O, A, S = 5, 2, 4  # noqa: E741
    algorithm = cql(config, O, A)
    state = initial_state(algorithm, range(S))
    gradients = sum(tensor.nbytes for network in state.parameters.values() for tensor in network.values())
    kept = sum(tensor.nbytes for tensor in state.tensors() if tensor.dtype == torch.float32)
    noise = NoiseStream(range(S), algorithm.draws(), CPU)
    drawn = sum(tensor.nbytes for kind in noise._drawn.values() for tensor in kind.values())
    indices = IndexStream(range(S), config.batch_size, 100, CPU)
    fixed = gradients + kept + drawn + indices._indices.nbytes
    values = 3 * config.proposals + 1 if config.conservative_weight else 1
    activations = 4 * S * config.critics * config.batch_size * values * sum(config.critic_hidden)
    assert room.least_bytes(algorithm, S, CPU) == pytest.approx(fixed + activations, abs=8 * S)


def test_seeds_that_are_not_computed_at_once_keep_no_activations() -> None:
    box = ActionBox.from_bounds(-torch.ones(3), torch.ones(3))
    algorithm = algorithm_of(BCConfig(batch_size=1_000_000), Spaces(11, box))
    needed = {}
    for threads in (2, 20):
        with on_threads(threads):  # ten groups of a seed each
            needed[threads] = room.least_bytes(algorithm, 10, CPU)
    assert needed[20] - needed[2] == 8 * 4 * algorithm.activations()
    on_gpu = room.least_bytes(algorithm, 10, torch.device("cuda"))
    assert needed[20] - on_gpu == 10 * 2 * algorithm.activations()


def test_a_large_ensemble_is_counted_without_being_laid_out() -> None:
    def numbers(critics: int) -> int:
        return room.least_bytes(cql(replace(CONFIG, critics=critics), 17, 6), 2, CPU)

    state = initial_state(cql(replace(CONFIG, critics=40), 17, 6), range(2))
    more = initial_state(cql(replace(CONFIG, critics=41), 17, 6), range(2))
    one = sum(t.nbytes for t in more.tensors()) - sum(t.nbytes for t in state.tensors())
    activations = 4 * 2 * CONFIG.batch_size * (3 * CONFIG.proposals + 1) * sum(CONFIG.critic_hidden)
    assert numbers(41) - numbers(40) == one + one // 4 + activations


def test_discrete_actions_need_neither_actor_nor_noise() -> None:
    algorithm = DiscreteCQL(CONFIG, Spaces(5, DiscreteActions(3)))
    state = initial_state(algorithm, range(2))
    parameters = sum(tensor.nbytes for tensor in state.parameters["critics"].values())
    activations = 4 * 2 * 3 * 64 * 48
    expected = 5 * parameters + activations + 8 * 16 * 2 * 64
    assert room.least_bytes(algorithm, 2, CPU) == pytest.approx(expected, abs=16)


@pytest.mark.parametrize(
    "too_large",
    [
        {"batch_size": 100_000_000},
        {"proposals": 10_000_000},
        {"critic_hidden": [1_000_000, 1_000_000]},
        {"critics": 1_000_000},
    ],
)
def test_what_cannot_fit_is_refused_and_what_can_is_not(too_large, monkeypatch) -> None:
    monkeypatch.setattr(room, "free_bytes", lambda device: 10**12)
    room.check_room(cql(CQLConfig(), 17, 6), 10, CPU)
    with pytest.raises(ConfigError, match="memory"):
        room.check_room(cql(replace(CQLConfig(), **too_large), 17, 6), 10, CPU)
    with pytest.raises(ConfigError, match="seeds"):
        room.check_room(cql(CQLConfig(), 17, 6), 1_000_000, CPU)
    monkeypatch.setattr(room, "free_bytes", lambda device: None)
    room.check_room(cql(replace(CQLConfig(), **too_large), 17, 6), 10, CPU)


def kept_at_most(algorithm: Algorithm[Any], state: TrainState, batch: Batch) -> int:
    """Bytes that autograd keeps for any stage's backward pass at most, inputs and state apart."""
    S = len(batch.actions)
    noise = {name: torch.rand(S, *draw.shape) for name, draw in algorithm.draws().items()}
    given = [*state.tensors(), batch.observations, batch.actions, batch.next_observations]
    known = {tensor.untyped_storage().data_ptr() for tensor in (*given, *batch.extra.values())}
    most = 0
    for stage in algorithm.stages():
        kept: dict[int, Tensor] = {}

        def keep(tensor: Tensor, kept: dict[int, Tensor] = kept) -> Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor  # and thereby its memory
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss_gradients(stage, state, batch, noise)
        own = [tensor.untyped_storage().nbytes() for at, tensor in kept.items() if at not in known]
        most = max(most, sum(own))
    return most


BOX = ActionBox.from_bounds(-torch.ones(2), torch.ones(2))
SMALL = {"hidden": [128, 128], "batch_size": 64}


@pytest.mark.parametrize(
    ("config", "actions"),
    [
        (SACConfig(actor_hidden=[128, 64], critic_hidden=[128, 128], batch_size=64), BOX),
        *((each(**SMALL, critics=8), BOX) for each in (SACNConfig, EDACConfig)),
        *((each(**SMALL), BOX) for each in (BCConfig, TD3BCConfig, IQLConfig, AWACConfig, ReBRACConfig)),
        *((each(**SMALL), DiscreteActions(2)) for each in (BCConfig, IQLConfig)),
    ],
)
def test_the_activations_are_what_autograd_keeps(config: AlgorithmConfig, actions: ActionSpace) -> None:
    S, shape = 2, (2, 64)
    algorithm = algorithm_of(config, Spaces(5, actions))
    seen, known = torch.ones(*shape, 5), torch.zeros(shape)
    extra = {name: torch.zeros(*shape, 2) for name in algorithm.columns()}
    batch = Batch(seen, torch.zeros(*shape, 2), known, seen, known, extra)
    needed = kept_at_most(algorithm, initial_state(algorithm, range(S)), batch)
    assert 4 * S * algorithm.activations() <= needed <= 1.3 * 4 * S * algorithm.activations()


def test_a_transformers_activations_are_what_autograd_keeps() -> None:
    O, A, S, L = 5, 2, 2, 20  # noqa: E741
    config = DTConfig(batch_size=8, embedding_size=32, context=L, episode_length=50)
    algorithm = DT(config, Spaces(O, ActionBox.from_bounds(-torch.ones(A), torch.ones(A))))
    state, shape = initial_state(algorithm, range(S)), (S, config.batch_size, L)
    steps, known = torch.arange(L).expand(shape).float(), torch.zeros(shape)
    extra = {"returns_to_go": known, "steps": steps, "left": L - 1 - steps}
    seen, taken = torch.ones(*shape, O), torch.zeros(*shape, A)
    batch = Batch(seen, taken, known, seen, known, extra)
    needed = kept_at_most(algorithm, state, batch)
    assert 4 * S * algorithm.activations() <= needed <= 1.3 * 4 * S * algorithm.activations()


def cut_short() -> None:
    """What a CUDA graph says whose capture ran out of memory."""
    try:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.34 GiB.")
    except RuntimeError:
        raise RuntimeError("CUDA error: operation failed due to a previous error") from None


def no_workspace() -> None:
    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


@pytest.mark.parametrize("fail", [cut_short, no_workspace])
def test_what_runs_out_of_memory_names_the_sizes_that_there_are(fail: Callable[[], None]) -> None:
    named = r"cuda:0 .*batch_size=4096, algorithm\.context=20, .* seeds \(10\)"
    with pytest.raises(ConfigError, match=named), room.within_memory(DTConfig(), 10, torch.device("cuda", 0)):
        fail()
    with pytest.raises(ZeroDivisionError), room.within_memory(CONFIG, 10, CPU):
        1 / 0  # noqa: B018


def test_free_memory_is_read_where_the_system_says_it(monkeypatch, tmp_path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 3 kB\nSwapFree: 2 kB\nHugePages: 0\n")
    monkeypatch.setattr(room, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(room, "_CGROUP", tmp_path)
    assert room.free_bytes(CPU) == 5 * 1024
    for name, content in (
        ("max", "2048"),
        ("current", "1524"),
        ("stat", "active_file 100\ninactive_file 400"),
    ):
        (tmp_path / f"memory.{name}").write_text(content + "\n")
    assert room.free_bytes(CPU) == 1024 + 2 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    assert room.free_bytes(CPU) == 5 * 1024
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 3 kB\n")
    assert room.free_bytes(CPU) == 3 * 1024
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nSwapFree: 2 kB\n")
    assert room.free_bytes(CPU) is None
    monkeypatch.setattr(room, "_MEMINFO", tmp_path / "nothing")
    assert room.free_bytes(CPU) is None
