"""Torch's and numpy's global streams are a trainer's own while it trains."""

# ruff: noqa: NPY002

import numpy as np
import torch

from cqlbench.trainer.global_stream import GlobalStream


def test_a_seeded_stream_is_manual_seeds_and_leaves_the_outer_one_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(1)
    outer = torch.rand(2)
    torch.manual_seed(1)
    stream = GlobalStream(5)
    found = []
    for place in range(2):
        with stream.in_place():
            found.append(torch.rand(2))
        assert torch.rand(1) == outer[place]
    assert torch.equal(torch.cat(found), expected)


def test_without_a_seed_it_is_the_outer_stream() -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    with GlobalStream(None).in_place():
        assert torch.rand(1) == expected[0]
    assert torch.rand(1) == expected[1]


def test_a_state_taken_within_or_after_goes_on_there() -> None:
    stream = GlobalStream(5)
    with stream.in_place():
        torch.rand(3)
        within = stream.state_dict()
        expected = torch.rand(2)
    after = stream.state_dict()
    with stream.in_place():
        further = torch.rand(2)
    for state, numbers in ((within, expected), (after, further)):
        other = GlobalStream(None)
        other.load_state_dict(state)
        with other.in_place():
            assert torch.equal(torch.rand(2), numbers)


def test_numpys_stream_is_seeded_lent_and_kept_too() -> None:
    np.random.seed(5)
    expected = np.random.rand(2), np.random.randn(3)
    np.random.seed(1)
    outer = np.random.rand(2)
    np.random.seed(1)
    stream = GlobalStream(5)
    with stream.in_place():
        assert (np.random.rand(2) == expected[0]).all()
    assert (np.random.rand(2) == outer).all()
    other = GlobalStream(None)
    other.load_state_dict(stream.state_dict())
    with other.in_place():
        assert (np.random.randn(3) == expected[1]).all()


def test_a_state_without_numpys_stream_still_loads() -> None:
    state = GlobalStream(5).state_dict()
    del state["numpy"]
    stream = GlobalStream(None)
    stream.load_state_dict(state)
    with stream.in_place():
        drawn = torch.rand(2)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(2))


def test_seeds_too_large_for_numpy_are_seeds() -> None:
    with GlobalStream(2**40).in_place():
        assert 0 <= np.random.rand() < 1
