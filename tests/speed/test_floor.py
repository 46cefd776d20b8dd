"""The floor computes each product as often as the step does, by the kernel that is fastest."""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
import torch
from rich.console import Console
from speed import floor
from speed.floor import Floor, floor_table
from speed.recorded import Recorder
from speed.workload import Product

CPU = torch.device("cpu")


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_each_product_is_computed_as_often_as_in_the_step() -> None:
    products = [Product(2, 3, 5, 7, count=2), Product(1, 4, 4, 4), Product(2, 3, 5, 7)]
    multiply = Floor(products, CPU)
    with Recorder() as recorder:
        multiply()
    assert sum(product.flops * count for product, count in recorder.products.items()) == sum(
        product.flops for product in products
    )
    assert [choice.product for choice in multiply.choices] == [replace(products[0], count=3), products[1]]


def test_every_way_computes_the_whole_product(monkeypatch, two_threads) -> None:
    monkeypatch.setattr(floor, "BLOCK_NUMBERS", 14)  # two rows of seven columns
    product, done = Product(3, 5, 4, 7), []

    def noted(name: str, kernel: floor.Kernel, piece: floor.Piece) -> None:
        computed = kernel(piece)
        expected = piece.left @ piece.right
        if "add" in name or name == "linear":
            expected = expected + piece.bias
        torch.testing.assert_close(computed.view_as(expected), expected)
        done.append(len(expected) * expected.shape[1])

    for kernels in (floor._BATCHED, floor._SINGLE):
        for name, kernel in kernels.items():
            monkeypatch.setitem(kernels, name, partial(noted, name, kernel))
    ways = dict(floor._ways(product, CPU))
    assert {"bmm out", "linear in blocks, shared", "mm by group", "baddbmm by group, shared"} <= set(ways)
    assert "linear" not in ways
    for way in ways.values():
        way()
        assert sum(done) == 3 * 5
        done.clear()


def test_the_fastest_is_chosen_and_shown(monkeypatch) -> None:
    ways = {"slow": partial(time.sleep, 0.02), "fast": partial(time.sleep, 0.001)}
    monkeypatch.setattr(floor, "_ways", lambda *_: ways.items())
    (choice,) = Floor([Product(20, 3, 5, 7, count=2)], CPU).choices
    assert choice.kernel == "fast"
    assert 0 < choice.gflops <= Product(4, 3, 5, 7).flops / 0.001 / 1e9
    shown = floor_table([choice], "floor")
    assert list(shown.columns[-1].cells) == ["fast"]
    assert list(shown.columns[0].cells) == ["20 x 3 x 5 x 7"]
    Console().print(shown)
