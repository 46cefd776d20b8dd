"""What a run needs at least, against what an engine allocates."""

from dataclasses import replace

import pytest
import torch

from cqlbench.algorithms.config import CQLConfig
from cqlbench.algorithms.step import initial_state
from cqlbench.core.errors import ConfigError
from cqlbench.engine import room
from cqlbench.engine.streams import IndexStream, NoiseShape, NoiseStream

CPU = torch.device("cpu")
CONFIG = CQLConfig(actor_hidden=[16, 8], critic_hidden=[32, 16], critics=3, batch_size=64, proposals=5)


@pytest.mark.parametrize(
    "config", [CONFIG, replace(CONFIG, max_q_backup=True), replace(CONFIG, conservative_weight=0.0)]
)
def test_it_counts_what_is_allocated(config: CQLConfig) -> None:
    O, A, S = 5, 2, 4  # noqa: E741
    state = initial_state(config, O, A, range(S))
    counted = [state.parameters["actor"], state.parameters["critics"]]
    parameters = sum(tensor.nbytes for network in counted for tensor in network.values())
    targets = sum(tensor.nbytes for tensor in state.target_critics.values())
    noise = NoiseStream(range(S), NoiseShape.of(config, A), CPU)
    indices = IndexStream(range(S), config.batch_size, 100, CPU)
    fixed = (
        4 * parameters + targets + noise._normals.nbytes + noise._uniforms.nbytes + indices._indices.nbytes
    )
    values = 3 * config.proposals + 1 if config.conservative_weight else 1
    activations = 4 * S * config.critics * config.batch_size * values * sum(config.critic_hidden)
    assert room.least_bytes(config, O, A, S, discrete=False) == fixed + activations


def test_discrete_actions_need_neither_actor_nor_noise() -> None:
    state = initial_state(CONFIG, 5, 3, range(2), discrete=True)
    parameters = sum(tensor.nbytes for tensor in state.parameters["critics"].values())
    activations = 4 * 2 * 3 * 64 * 48
    assert room.least_bytes(CONFIG, 5, 3, 2, discrete=True) == 5 * parameters + activations + 8 * 16 * 2 * 64


@pytest.mark.parametrize(
    "too_large",
    [{"batch_size": 100_000_000}, {"proposals": 10_000_000}, {"critic_hidden": [1_000_000, 1_000_000]}],
)
def test_what_cannot_fit_is_refused_and_what_can_is_not(too_large, monkeypatch) -> None:
    monkeypatch.setattr(room, "free_bytes", lambda device: 10**12)
    room.check_room(CQLConfig(), 17, 6, 10, CPU, discrete=False)
    with pytest.raises(ConfigError, match="memory"):
        room.check_room(replace(CQLConfig(), **too_large), 17, 6, 10, CPU, discrete=False)
    with pytest.raises(ConfigError, match="seeds"):
        room.check_room(CQLConfig(), 17, 6, 1_000_000, CPU, discrete=False)
    monkeypatch.setattr(room, "free_bytes", lambda device: None)
    room.check_room(replace(CQLConfig(), **too_large), 17, 6, 10, CPU, discrete=False)


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
