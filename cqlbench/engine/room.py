"""Whether a run fits the memory, said before anything is allocated."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from cqlbench.algorithms.algorithm import Algorithm, AlgorithmConfig
from cqlbench.algorithms.step import initial_state
from cqlbench.core.devices import free_memory
from cqlbench.core.errors import ConfigError, out_of_memory
from cqlbench.engine.seed_groups import groups_of
from cqlbench.engine.streams import CHUNK

_FEW = 16
"""Critics of an ensemble, each of which is as large as the others."""

_SIZES = ("batch_size", "proposals", "context", "critics")
"""Settings that memory grows with, but for the networks' own, where an algorithm has them."""

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def check_room(algorithm: Algorithm[Any], seeds: int, device: torch.device) -> None:
    """Refuse sizes that cannot fit.

    Raises:
        ConfigError: naming the keys, the least that they need, and what is free.
    """
    needed, free = least_bytes(algorithm, seeds, device), free_bytes(device)
    if free is not None and needed > free:
        raise ConfigError(
            f"Training needs at least {needed / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are free:"
            f" {_advice(algorithm.config, seeds)}."
        )


@contextmanager
def within_memory(config: AlgorithmConfig, seeds: int, device: torch.device) -> Iterator[None]:
    """Say what to make smaller where training runs out of memory.

    Raises:
        ConfigError: it has.
    """
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise ConfigError(
            f"The memory of {device} was too small to train: {_advice(config, seeds)}."
        ) from error


def _advice(config: AlgorithmConfig, seeds: int) -> str:
    names = (name for name in _SIZES if getattr(config, name, 0) > 1)
    sizes = ", ".join(f"algorithm.{name}={getattr(config, name)}" for name in names)
    return f"make {sizes}, the networks or the number of seeds ({seeds}) smaller"


def least_bytes(algorithm: Algorithm[Any], seeds: int, device: torch.device) -> int:
    """What a run cannot do without, the dataset apart.

    Training state and gradients, noise and indices drawn ahead, and what gradient steps keep for their
    backward passes: on a CPU that of as many groups of seeds as there are threads, on a GPU in 16 bits.
    """
    critics = getattr(algorithm.config, "critics", 0)
    if critics > _FEW:  # a million would take minutes to lay out
        few, more = (_state_numbers(_with_critics(algorithm, count)) for count in (_FEW, _FEW + 1))
        numbers = few + (critics - _FEW) * (more - few)
    else:
        numbers = _state_numbers(algorithm)
    noise = CHUNK * sum(math.prod(draw.shape) for draw in algorithm.draws().values())
    batch = algorithm.config.batch_size
    always = seeds * (4 * (numbers + noise) + 8 * CHUNK * batch)
    if device.type != "cpu":
        return int(always + 2 * seeds * algorithm.activations())
    # Of a state's numbers a quarter at most are parameters: there are gradients and two moments.
    groups = groups_of(seeds, numbers // 4 * batch * algorithm.context)
    at_once = groups[: torch.get_num_threads()][-1].stop
    return int(always + 4 * at_once * algorithm.activations())


def _state_numbers(algorithm: Algorithm[Any]) -> int:
    """Of a seed's training state and gradients."""
    with torch.device("meta"):  # shapes alone
        state = initial_state(algorithm, [0])
    return sum(tensor.numel() for tensor in [*state.tensors(), *tree_leaves(state.parameters)])


def _with_critics(algorithm: Algorithm[Any], critics: int) -> Algorithm[Any]:
    return type(algorithm)(replace(algorithm.config, critics=critics), algorithm.spaces)


def free_bytes(device: torch.device) -> int | None:
    """Memory that can be had on `device`, swap included; `None` where the system does not say."""
    if device.type == "cuda":
        return free_memory(device)
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
        kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
        available = 1024 * kilobytes["MemAvailable"]
    except (OSError, KeyError):
        return None
    return min([available, *_below_limit()]) + 1024 * kilobytes.get("SwapFree", 0)


def _below_limit() -> list[int]:
    """What a container's limit (cgroup v2) leaves, cached files not counted as used; empty without one."""
    try:
        limit, used = (
            (_CGROUP / name).read_text(encoding="ascii") for name in ("memory.max", "memory.current")
        )
        lines = (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines()
        pages = {name: int(count) for name, _, count in (line.partition(" ") for line in lines)}
        return [int(limit) - int(used) + pages["active_file"] + pages["inactive_file"]]
    except (OSError, ValueError, KeyError):  # "max", for instance
        return []
