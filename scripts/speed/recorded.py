"""The matrix products that a step of any algorithm computes, recorded as it computes them."""

import math
from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cqlbench.core.devices import one_thread
from cqlbench.engine.engine import Engine
from speed.workload import Product

_ATEN = torch.ops.aten
_FIRST_FACTOR = {_ATEN.mm: 0, _ATEN.bmm: 0, _ATEN.addmm: 1, _ATEN.baddbmm: 1}
"""Operation -> which of its arguments is the left factor; the right one follows."""


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within, every matrix product of this thread is added to `products`, by its shape.

    Fused attention, which multiplies without calling these operations, is not.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.products: Counter[Product] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Note the product, then compute it."""
        first = _FIRST_FACTOR.get(func.overloadpacket)
        if first is not None:
            left, right = args[first], args[first + 1]
            groups = math.prod(left.shape[:-2])
            self.products[Product(groups, left.shape[-2], left.shape[-1], right.shape[-1])] += 1
        return func(*args, **kwargs or {})


def period(engine: Engine) -> int:
    """After how many gradient steps the stages repeat."""
    return math.lcm(*(stage.every for stage in engine.algorithm.stages()))


def recorded_products(engine: Engine) -> list[Product]:
    """The products of one `period` of `engine`'s steps, with their counts."""
    with one_thread(), Recorder() as recorder:  # other threads' products are not seen
        for step in range(period(engine)):
            engine.step(step)
    return [
        Product(each.groups, each.rows, each.inner, each.columns, count)
        for each, count in recorder.products.items()
    ]
