"""Which device is meant, and what is free on it; computing on one core for a while."""

import gc
import weakref

import pytest
import torch

from cqlbench.core.devices import cap_memory, device_facts, free_memory, numbered, on_threads, one_thread
from cqlbench.core.errors import ConfigError


def test_threads_are_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == before + 1
        with pytest.raises(ZeroDivisionError), one_thread():
            1 / 0  # noqa: B018
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_threads_are_set_where_they_are_as_many_already(monkeypatch) -> None:
    set_to: list[int] = []
    before = torch.get_num_threads()
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    with on_threads(before), on_threads(None):
        assert set_to == [before]  # or MKL would choose, until something else sets them


def test_memory_that_only_the_collector_frees_is_free(monkeypatch) -> None:
    circle = [torch.ones(1)]
    circle.append(circle)
    left = weakref.ref(circle[0])
    del circle
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (7 if left() is None else 0, 9))
    gc.disable()
    try:
        assert free_memory(torch.device("cuda", 0)) == 7
    finally:
        gc.enable()


def test_a_share_of_a_gpu_is_kept_to(monkeypatch) -> None:
    gpu, caps = torch.device("cuda", 0), []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *cap: caps.append(cap))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (80, 100))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 5)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    cap_memory(gpu)
    assert (caps, free_memory(gpu)) == ([], 80)
    monkeypatch.setenv("CQLBENCH_GPU_FRACTION", "0.25")
    cap_memory(gpu)
    assert (caps, free_memory(gpu)) == ([(0.25, gpu)], 20)
    for wrong in ("0", "2", "half", "nan"):
        monkeypatch.setenv("CQLBENCH_GPU_FRACTION", wrong)
        with pytest.raises(ConfigError, match="CQLBENCH_GPU_FRACTION"):
            cap_memory(gpu)


def test_cuda_without_a_number_is_the_current_one(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert numbered(torch.device("cuda")) == torch.device("cuda:1")
    assert numbered(torch.device("cuda:0")) == torch.device("cuda:0")
    assert numbered(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("device", ["cpu", "auto", "cuda", "cuda:99", "cuda:x", "nonsense"])
def test_facts_stop_at_no_device_name(device: str) -> None:
    assert device_facts(device).threads == torch.get_num_threads()


@pytest.mark.parametrize(("device", "gpu"), [("auto", "cuda:1"), ("cuda", "cuda:1"), ("cuda:0", "cuda:0")])
def test_facts_are_of_the_device_that_torch_takes(monkeypatch, device: str, gpu: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda name: f"GPU {name}")
    assert device_facts(device)[::2] == (gpu, f"GPU {gpu}")
    assert device_facts("cpu")[::2] == ("cpu", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_facts("auto")[::2] == ("cpu", None)
