"""The CUDA graph gives what the steps one by one give."""

import pytest
import torch

from cqlbench.algorithms.networks import DiscreteActions
from cqlbench.training.engine import Reader
from cqlbench.training.streams import CHUNK

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


@needs_cuda
@pytest.mark.parametrize("actions", [None, DiscreteActions(2)], ids=["box", "discrete"])
def test_graphed_chunks_equal_single_steps(make_engine, actions) -> None:
    graphed, single = (make_engine(0, 1, actions=actions, device=torch.device("cuda")) for _ in range(2))
    steps = 0
    while steps < 4 * CHUNK + 3:
        steps += graphed.advance(steps, 4 * CHUNK + 3 - steps)
    for step in range(steps):
        single.step(step)
    assert graphed.state.steps == single.state.steps == steps
    for ours, theirs in zip(graphed.state.tensors(), single.state.tensors(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    for reader in Reader:
        ours, theirs = graphed.drain_diagnostics(reader), single.drain_diagnostics(reader)
        for name, values in theirs.items():
            assert ours[name] == pytest.approx(values, rel=1e-4), name


@needs_cuda
def test_a_dataset_that_does_not_fit_is_fetched_batch_by_batch(make_engine, monkeypatch) -> None:
    monkeypatch.setattr("cqlbench.training.engine.Columns.fits", lambda self, device: False)
    engine = make_engine(0, device=torch.device("cuda"))
    assert engine.batch(0).observations.device.type == "cuda"
    assert engine.advance(0, 5 * CHUNK) == 1


def test_without_cuda_steps_are_taken_one_by_one(make_engine) -> None:
    engine, other = make_engine(), make_engine()
    assert engine.advance(0, 5 * CHUNK) == 1
    other.step(0)
    for ours, theirs in zip(engine.state.tensors(), other.state.tensors(), strict=True):
        assert torch.equal(ours, theirs)
