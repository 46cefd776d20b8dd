"""Rows gathered ahead are the rows that were asked for, whatever was asked for before."""

import dataclasses

import pytest
import torch

from cqlbench.engine.prefetch import Prefetcher

CPU = torch.device("cpu")


def test_every_step_gets_its_own_rows() -> None:
    columns = [torch.arange(40.0).reshape(20, 2), torch.arange(20) % 3 == 0]
    indices = torch.empty(4, dtype=torch.int64)

    def draw(step: int) -> torch.Tensor:
        # One buffer for all steps, as in the index stream.
        indices.copy_((torch.arange(4) * 7 + step) % 20)
        return indices

    prefetched = Prefetcher(columns, draw, CPU)
    for step in (0, 1, 2, 3, 9, 10, 2, 3):
        numbers, flags = prefetched(step)
        rows = (torch.arange(4) * 7 + step) % 20
        assert torch.equal(numbers, columns[0][rows])
        assert torch.equal(flags, columns[1][rows])


def test_the_following_rows_are_gathered_before_they_are_asked_for() -> None:
    asked: list[int] = []

    def draw(step: int) -> torch.Tensor:
        asked.append(step)
        return torch.tensor([step])

    prefetched = Prefetcher([torch.arange(9.0)], draw, CPU)
    prefetched(0)
    assert asked == [0, 1]
    prefetched(1)
    assert asked == [0, 1, 2]


@pytest.mark.parametrize("calibrated", [False, True])
def test_training_is_the_same_with_the_dataset_elsewhere(
    make_engine, columns, monkeypatch, calibrated
) -> None:
    if calibrated:
        columns = dataclasses.replace(columns, extra={"returns_to_go": 3 * columns.rewards})
    here = make_engine(columns=columns, calibrated=calibrated)
    monkeypatch.setattr("cqlbench.engine.engine.fits", lambda tensors, device: False)
    elsewhere = make_engine(columns=columns, calibrated=calibrated)
    for step in range(20):  # past a chunk of indices
        here.step(step)
        elsewhere.step(step)
    for mine, theirs in zip(here.state.tensors(), elsewhere.state.tensors(), strict=True):
        assert torch.equal(mine, theirs)
