"""A GPU that is not there: tensors that claim `cuda`, computed on the CPU and under CUDA's rules.

Operations refuse tensors of both sides, as CUDA does. Under capture, whatever makes the host wait, crosses
between host and device, or draws is refused too, and so is freeing another graph; operations are recorded,
and a graph's replay does them again on the same memory, which must still be there.
"""

import contextlib
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cqlbench.core import seeding

CUDA = torch.device("cuda", 0)
_META = torch.device("meta")
_READS = {"_local_scalar_dense", "equal", "nonzero", "masked_select", "_unique2", "unique_consecutive"}
_DRAWS = {
    "bernoulli",
    "bernoulli_",
    "normal",
    "normal_",
    "uniform_",
    "exponential_",
    "random_",
    "multinomial",
}


class DeviceError(AssertionError):
    """What a GPU would refuse, wait for, or compute with memory that is no longer its own."""


@dataclass(eq=False)
class Memory:
    """A storage on the device, freed with the last tensor of it. `graph` captured its creation."""

    value: Tensor
    graph: "Graph | None"


class OnDevice(Tensor):
    """A tensor on the device. `value` has its numbers, on the CPU, or, where only shapes count, on `meta`."""

    value: Tensor
    memory: Memory
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, value: Tensor, memory: Memory) -> "OnDevice":
        shape = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=_META)
        made = Tensor._make_subclass(cls, shape, False, dispatch_device=True, device_for_backend_keys=CUDA)
        made.value, made.memory = value, memory
        return made

    @property
    def device(self) -> torch.device:
        return CUDA

    def to(self, *arguments: Any, **named: Any) -> Tensor:
        wanted = {name: value for name, value in named.items() if name != "copy"}
        device, dtype, *_ = torch._C._nn._parse_to(*arguments, **wanted)
        same = device in (None, CUDA) and dtype in (None, self.dtype) and not named.get("copy")
        return self if same else super().to(*arguments, **named)

    def record_stream(self, stream: object) -> None:
        """No memory is given away early here."""

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise DeviceError("numpy has no arrays on the device.")
        return self.detach().cpu().numpy()

    def __deepcopy__(self, memo: Any) -> Tensor:
        return self.detach().clone()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise DeviceError(f"{func} on a thread that has no simulated device.")


class Graph:
    """Recorded operations, and the memory of before that they work on."""

    def __init__(self, device: "Device") -> None:
        self._device = device
        self.calls: list[tuple[Any, Any, Any, list[tuple[int, Tensor]]]] = []
        self.before: dict[int, tuple[weakref.ref[Memory], str]] = {}
        self.replays = 0

    def __del__(self) -> None:
        self._device.spoiled |= self._device.capturing is not None

    def replay(self) -> None:
        for memory, operation in self.before.values():
            if memory() is None:
                raise DeviceError(f"The graph's {operation} works on memory that has been freed.")
        for func, args, kwargs, made in self.calls:
            found = tree_leaves(func(*args, **kwargs))
            for position, tensor in made:
                tensor.copy_(found[position])
        self.replays += 1


class Device:
    """The simulated device, and what happened on it.

    Args:
        computes: whether tensors have numbers; otherwise only shapes, which cost nothing at any size.

    Attributes:
        capturing: the graph that is being recorded.
        spoiled: whether another was freed meanwhile.
        reads: operations for which the host waited.
        operations: those dispatched.
        kernels: those of them that compute or copy; views and allocations do not.
        moved: bytes that the kernels read and write, counted where only shapes are.
    """

    def __init__(self, *, computes: bool = True) -> None:
        self.computes = computes
        self.capturing: Graph | None = None
        self.spoiled = False
        self.forget()
        self._memories: weakref.WeakValueDictionary[int, Memory] = weakref.WeakValueDictionary()
        self._generators: set[int] = set()  # by their seeds: dispatched, they are other Python objects

    def forget(self) -> None:
        """Count from zero."""
        self.reads, self.operations, self.kernels = Counter[str](), Counter[str](), Counter[str]()
        self.moved = 0

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """Within, this thread has the device."""
        lifts = torch._C._only_lift_cpu_tensors()
        # A GPU's backward pass has a thread of its own, which would not have it.
        with torch.autograd.set_multithreading_enabled(False):
            mode = self.enter()
            try:
                yield
            finally:
                mode.__exit__(None, None, None)
                torch._C._set_only_lift_cpu_tensors(lifts)

    def enter(self) -> TorchDispatchMode:
        """From now on this thread has the device."""
        torch._C._set_only_lift_cpu_tensors(True)
        return _Mode(self).__enter__()

    def generator(self, *address: Any, device: torch.device | str = "cpu") -> torch.Generator:
        """As `torch_generator`; both devices draw the CPU's numbers here."""
        made = seeding.torch_generator(*address)
        if torch.device(device).type == "cuda":
            self._generators.add(made.initial_seed())
        return made

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """An operation on the device, to it, or from it."""
        tensors = [leaf for leaf in _leaves((*args, *kwargs.values())) if isinstance(leaf, Tensor)]
        inside = [tensor for tensor in tensors if type(tensor) is OnDevice]
        wanted = torch.device(kwargs.get("device") or ("cuda" if inside else "cpu"))
        wanted = CUDA if wanted.type == "meta" else wanted  # what C++ takes a tensor on the device to be on
        plain = {name: _plain(value) for name, value in kwargs.items() if name != "pin_memory"}
        name, writes, written = _facts(func)
        if name == "copy_" and type(args[0]) is not OnDevice:
            wanted = torch.device("cpu")
        self._refuse_mixture(name, args, kwargs, written)
        self._refuse_host(name, tensors, wanted, kwargs.get("generator"))
        if "device" in plain:
            plain["device"] = _META if wanted.type == "cuda" and not self.computes else torch.device("cpu")
        bare = _plain(args)
        found = func(*bare, **plain)
        return self._found(name, func, writes, inside, (bare, plain), found, wanted, args)

    def _refuse_mixture(self, name: str, args: Any, kwargs: Any, written: tuple[int | str, ...]) -> None:
        if name in ("copy_", "_to_copy"):
            return
        sides = {type(each) is OnDevice for each in _leaves((*args, *kwargs.values())) if _counts(each)}
        for at in written:
            value = args[at] if isinstance(at, int) and at < len(args) else kwargs.get(str(at))
            sides |= {type(each) is OnDevice for each in _leaves((value,)) if isinstance(each, Tensor)}
        if len(sides) == 2:
            raise DeviceError(f"{name} mixes tensors of host and device.")

    def _refuse_host(self, name: str, tensors: list[Tensor], wanted: torch.device, generator: Any) -> None:
        crosses = name in ("copy_", "_to_copy")
        masks = name in ("index", "index_put", "index_put_") and any(
            each.dtype in (torch.bool, torch.uint8) for each in tensors[1:]
        )
        if name in _READS or masks or (crosses and wanted.type != "cuda"):
            self.reads[name] += 1
            if self.capturing:
                raise DeviceError(f"{name} makes the host wait for the device, under capture.")
        draws = name in _DRAWS or name.startswith("rand") or name == "native_dropout"
        if draws and self.capturing:
            raise DeviceError(f"{name} draws under capture: replays would not follow the streams.")
        if draws and (generator is None or generator.initial_seed() not in self._generators):
            raise DeviceError(f"{name} draws on the device by a generator that is not its own.")
        if crosses and self.capturing and any(type(each) is not OnDevice for each in tensors):
            raise DeviceError(f"{name} reads the host's memory, under capture.")

    def _found(
        self,
        name: str,
        func: Any,
        writes: bool,
        inside: list[OnDevice],
        plain: tuple[Any, Any],
        found: Any,
        wanted: torch.device,
        args: Any,
    ) -> Any:
        """The results on their device; the operation is counted, and under capture recorded."""
        self.operations[name] += 1
        known = {id(each.value): each for each in inside}
        storages = {each.value.untyped_storage()._cdata for each in inside}
        results = list(_leaves(found if isinstance(found, (list, tuple)) else (found,)))
        new = [
            (position, each)
            for position, each in enumerate(results)
            if isinstance(each, Tensor) and each.untyped_storage()._cdata not in storages
        ]
        if (new or writes) and "empty" not in name and name != "lift_fresh":
            self.kernels[name] += 1
            if not self.computes:
                touched = {id(each): each for each in [*_leaves((*plain[0], *plain[1].values())), *results]}
                self.moved += sum(_bytes(each) for each in touched.values() if isinstance(each, Tensor))
                if name not in ("copy_", "fill_", "zero_"):  # what is changed in place is read and written
                    self.moved += sum(_bytes(each) for each in results if isinstance(each, Tensor)) * writes
            if self.capturing:
                self.capturing.calls.append((func, *plain, new))
        if self.capturing:
            for each in inside:
                if each.memory.graph is not self.capturing:
                    self.capturing.before[id(each.memory)] = weakref.ref(each.memory), name
        if wanted.type != "cuda":
            return args[0] if name == "copy_" else found
        return _each(found, lambda each: known[id(each)] if id(each) in known else self._wrapped(each))

    def _wrapped(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        storage = value.untyped_storage()._cdata
        memory = self._memories.get(storage)
        if memory is None:
            self._memories[storage] = memory = Memory(value, self.capturing)
        return OnDevice(value, memory)


def _leaves(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _leaves(value)
        else:
            yield value


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_each(part, change) for part in value)
    return change(value)


def _plain(value: Any) -> Any:
    return _each(value, lambda each: each.value if type(each) is OnDevice else each)


def _counts(value: Any) -> bool:
    """Whether it must be on the operation's device; a host's tensor of no dimensions is a number to CUDA."""
    return isinstance(value, Tensor) and (type(value) is OnDevice or value.dim() > 0)


@cache
def _facts(func: Any) -> tuple[str, bool, tuple[int | str, ...]]:
    """An operation's name, whether it writes to arguments, and to which."""
    written = tuple(
        argument.name if argument.kwarg_only else position
        for position, argument in enumerate(func._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )
    return func._schema.name.removeprefix("aten::"), bool(written), written


def _bytes(tensor: Tensor) -> int:
    numbers = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        numbers *= size if stride else 1  # what is expanded is read once
    return numbers * tensor.element_size()


class _Mode(TorchDispatchMode):
    def __init__(self, device: Device) -> None:
        super().__init__()
        self._mode_key = torch._C._TorchDispatchModeKey.FAKE  # otherwise torch looks for a real GPU
        self._device = device

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.prim.device.default:
            return _META  # C++ asks, and would look for the guard of a real GPU
        kwargs = kwargs or {}
        if not types and torch.device(kwargs.get("device") or "cpu").type == "cpu":
            return func(*args, **kwargs)
        return self._device.call(func, args, kwargs)


class _Stream:
    def __init__(self, *arguments: object) -> None:
        pass

    def wait_stream(self, other: object) -> None:
        pass

    wait_event = wait_stream

    def record_event(self) -> object:
        return object()


@contextlib.contextmanager
def simulated(monkeypatch: pytest.MonkeyPatch, *, computes: bool = True) -> Iterator[Device]:
    """The device in place of `torch.cuda`'s, for this thread and the one that prefetches."""
    device, current = Device(computes=computes), _Stream()

    @contextlib.contextmanager
    def graph(graph: Graph, stream: object) -> Iterator[None]:
        device.capturing, device.spoiled = graph, False
        try:
            yield
        finally:
            device.capturing = None
        if device.spoiled:
            raise DeviceError("A graph was freed during another's capture.")

    cuda: dict[str, Callable[..., Any]] = {
        "is_available": lambda: True,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "device": contextlib.nullcontext,
        "mem_get_info": lambda device=None: (1 << 40, 1 << 40),
        "synchronize": lambda device=None: device,
        "Stream": _Stream,
        "current_stream": lambda device=None: current,
        "stream": contextlib.nullcontext,
        "CUDAGraph": partial(Graph, device),
        "graph": graph,
    }
    for name, fake in cuda.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *sizes, pin_memory=False, **named: empty(*sizes, **named))
    monkeypatch.setattr("cqlbench.engine.streams.torch_generator", device.generator)
    threads = partial(ThreadPoolExecutor, initializer=device.enter)
    monkeypatch.setattr("cqlbench.engine.prefetch.ThreadPoolExecutor", threads)
    with device.on():
        yield device
