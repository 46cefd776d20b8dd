"""The floor: every matrix product of a step by the fastest of torch's kernels here, and nothing else.

Which kernel is fastest depends on shape, threads and machine, so it is found in the run that uses it. Each
is tried on whole products, on one group at a time, and on blocks of rows as large as the step's own; with
several threads, these divide each multiplication, or take whole ones from each other as the step does.
"""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from cqlbench.algorithms.networks.ensemble import BLOCK_NUMBERS
from cqlbench.algorithms.networks.sharing import share, shared
from speed.remote import Clock, timed
from speed.workload import Product

_FEW_GROUPS = 4
"""Groups that kernels are tried on: what is fastest for these is taken for more."""
_CLOSE, _ROUNDS = 1.3, 3
"""Kernels that take up to so many times the fastest's time at first are tried in more rounds."""
_SHOWN = 0.005


class Piece(NamedTuple):
    """What one call multiplies.

    Attributes:
        left: `[G, R, I]`.
        right: `[G, I, H]`.
        weight: `[G, H, I]`, the same as `right`, laid out as `nn.Linear`'s.
        bias: `[G, 1, H]`.
        out: `[G, R, H]`.
    """

    left: Tensor
    right: Tensor
    weight: Tensor
    bias: Tensor
    out: Tensor


Kernel = Callable[[Piece], object]


_BATCHED: dict[str, Kernel] = {
    "bmm": lambda p: torch.bmm(p.left, p.right),
    "bmm out": lambda p: torch.bmm(p.left, p.right, out=p.out),
    "baddbmm": lambda p: torch.baddbmm(p.bias, p.left, p.right),
    "baddbmm out": lambda p: torch.baddbmm(p.bias, p.left, p.right, out=p.out),
}
_SINGLE: dict[str, Kernel] = {
    "mm": lambda p: torch.mm(p.left[0], p.right[0]),
    "mm out": lambda p: torch.mm(p.left[0], p.right[0], out=p.out[0]),
    "addmm": lambda p: torch.addmm(p.bias[0], p.left[0], p.right[0]),
    "addmm out": lambda p: torch.addmm(p.bias[0], p.left[0], p.right[0], out=p.out[0]),
    "linear": lambda p: functional.linear(p.left[0], p.weight[0], p.bias[0, 0]),
}
"""For pieces of one group."""


@dataclass(frozen=True)
class Choice:
    """How one product of the floor is computed.

    Attributes:
        product: with how often.
        kernel: torch's operation, on what, and who divides the work.
        gflops: per second of it, on a few groups.
    """

    product: Product
    kernel: str
    gflops: float


class Floor:
    """Computes `products`, each by the kernel that is fastest here and now.

    Args:
        products: of a step.
        device: where. On CUDA kernels are tried on whole products alone.
        clock: `time.process_time` leaves out what other processes take of a core, with one thread.

    Attributes:
        choices: what was found, one of each shape.
    """

    def __init__(
        self, products: Sequence[Product], device: torch.device, clock: Clock = time.perf_counter
    ) -> None:
        self.choices: list[Choice] = []
        self._multiply: list[tuple[int, Callable[[], None]]] = []
        counts: Counter[Product] = Counter()
        for product in products:
            counts[replace(product, count=1)] += product.count
        for one, count in counts.items():
            product = replace(one, count=count)
            few = replace(product, groups=min(product.groups, _FEW_GROUPS), count=1)
            name, seconds = _fastest(dict(_ways(few, device)), device, clock)
            self.choices.append(Choice(product, name, few.flops / seconds / 1e9))
            self._multiply.append((product.count, dict(_ways(product, device))[name]))

    def __call__(self) -> None:
        """Compute them all."""
        for count, multiply in self._multiply:
            for _ in range(count):
                multiply()


def _ways(product: Product, device: torch.device) -> Iterator[tuple[str, Callable[[], None]]]:
    """All ways to compute `product` once, by name."""
    G, R, I, H = product.groups, product.rows, product.inner, product.columns  # noqa: E741
    left, right, bias = (torch.randn(size, device=device) for size in ((G, R, I), (G, I, H), (G, 1, H)))
    weight, out = right.transpose(1, 2).contiguous(), torch.empty(G, R, H, device=device)
    pieces = {"": [Piece(left, right, weight, bias, out)]}
    if device.type == "cpu":
        by_group, blocks = (_cut(pieces[""][0], rows) for rows in (R, max(1, BLOCK_NUMBERS // H)))
        pieces |= {" by group": by_group} if G > 1 else {}
        pieces |= {" in blocks": blocks} if len(blocks) > G else {}
    several = device.type == "cpu" and torch.get_num_threads() > 1
    for parts, cut in pieces.items():
        for name, kernel in (_BATCHED | _SINGLE if len(cut[0].out) == 1 else _BATCHED).items():
            yield name + parts, partial(_one_after_another, kernel, cut)
            if several and len(cut) > 1:
                yield f"{name}{parts}, shared", partial(_shared, kernel, cut)


def _cut(whole: Piece, size: int) -> list[Piece]:
    """`whole` group by group, `size` rows at a time."""
    groups, rows = whole.out.shape[:2]
    return [
        Piece(
            left=whole.left[group : group + 1, first : first + size],
            right=whole.right[group : group + 1],
            weight=whole.weight[group : group + 1],
            bias=whole.bias[group : group + 1],
            out=whole.out[group : group + 1, first : first + size],
        )
        for group, first in itertools.product(range(groups), range(0, rows, size))
    ]


def _one_after_another(kernel: Kernel, pieces: list[Piece]) -> None:
    for piece in pieces:
        kernel(piece)


def _shared(kernel: Kernel, pieces: list[Piece]) -> None:
    def multiply(number: int) -> None:
        kernel(pieces[number])

    with shared():
        share(multiply, len(pieces))


def _fastest(ways: dict[str, Callable[[], None]], device: torch.device, clock: Clock) -> tuple[str, float]:
    def once(name: str) -> float:
        return timed(ways[name], 1, device, clock)

    for name in ways:
        once(name)  # what is slow the first time alone
    best = {name: once(name) for name in ways}
    least = min(best.values())
    close = [name for name, seconds in best.items() if seconds <= _CLOSE * least]
    for _ in range(_ROUNDS):
        for name in close:
            best[name] = min(best[name], once(name))
    return min(best.items(), key=lambda each: each[1])


def floor_table(choices: Sequence[Choice], title: str) -> Table:
    """What was fastest, the longest first; products that take next to nothing are not shown."""
    made = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in ("Product", "times", "GFLOP/s", "% of the floor"):
        made.add_column(column, justify="right", no_wrap=True)
    made.add_column("fastest", no_wrap=True)
    seconds = {choice: choice.product.flops / choice.gflops for choice in choices}
    total = sum(seconds.values())
    for choice, own in sorted(seconds.items(), key=lambda each: -each[1]):
        if own < _SHOWN * total:
            break
        product = choice.product
        made.add_row(
            f"{product.groups} x {product.rows} x {product.inner} x {product.columns}",
            str(product.count),
            f"{choice.gflops:.0f}",
            f"{100 * own / total:.0f}",
            choice.kernel,
        )
    return made
