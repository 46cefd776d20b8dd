"""Where to compute."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import NamedTuple

import torch

from cqlbench.core.errors import ConfigError


def device_of(name: str) -> torch.device:
    """The device called `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:<n>`.

    Raises:
        ConfigError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"'{name}' is no device; say auto, cpu, cuda or cuda:<n>.") from error
    if device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index):
        raise ConfigError(f"'{name}' is no device that cqlbench trains on; say auto, cpu, cuda or cuda:<n>.")
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise ConfigError(f"There is no device '{name}' here (CUDA devices: {count}); say device=cpu.")
        return torch.device("cuda", device.index or 0)
    return torch.device("cpu")


def numbered(device: torch.device) -> torch.device:
    """`device` with a number if it is a GPU: `cuda` is the current one, as everywhere in torch."""
    if device == torch.device("cuda"):
        return torch.device("cuda", torch.cuda.current_device())
    return device


def free_memory(device: torch.device) -> int:
    """Bytes that can be had on a GPU; what this process holds there for nothing is given back first."""
    gc.collect()  # a run that is over is a circle of trainer and hooks, with its engine
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(device)
    return min(free, int(_share() * total) - torch.cuda.memory_reserved(device))


def cap_memory(device: torch.device) -> None:
    """Keep this process to `CQLBENCH_GPU_FRACTION` of a GPU's memory: a launcher gives others the rest.

    Raises:
        ConfigError: it is no fraction.
    """
    if (share := _share()) < 1:
        torch.cuda.set_per_process_memory_fraction(share, device)


def _share() -> float:
    text = os.environ.get("CQLBENCH_GPU_FRACTION") or "1"
    with suppress(ValueError):
        if 0 < (share := float(text)) <= 1:
            return share
    raise ConfigError(f"CQLBENCH_GPU_FRACTION={text} must be a number above 0 and at most 1.")


class DeviceFacts(NamedTuple):
    """What a record says of the device that trained.

    Attributes:
        device: with its number: `cpu`, `cuda:0`.
        threads: threads that torch computes with on the CPU.
        gpu: name of the GPU; `None` where none trained.
    """

    device: str
    threads: int
    gpu: str | None


def device_facts(name: str) -> DeviceFacts:
    """Of a device by its name, or `auto`; one that does not exist is reported where it is asked for."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    gpu = None
    if name.startswith("cuda") and torch.cuda.is_available():
        name = f"cuda:{torch.cuda.current_device()}" if name == "cuda" else name
        with suppress(RuntimeError, AssertionError, ValueError):
            gpu = torch.cuda.get_device_name(name)
    return DeviceFacts(name, torch.get_num_threads(), gpu)


@contextmanager
def on_threads(count: int | None) -> Iterator[None]:
    """Compute on `count` threads in this thread; `None` changes nothing.

    Setting a number costs less than a microsecond. It ends MKL's own choice of threads for the rest of the
    process, on which last bits may depend: so it is set even where it is `count` already, and whatever
    computes within has it set, whether or not something before did.
    """
    if count is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


one_thread = partial(on_threads, 1)
"""Leaves the other cores to a simulator."""
