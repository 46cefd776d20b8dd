"""Groups of seeds are trained as if each were a run of its own, and sizes alone say who is in which."""

import copy

import pytest
import torch

from cqlbench.algorithms.td3_bc import TD3BCConfig
from cqlbench.engine import seed_groups
from cqlbench.engine.seed_groups import groups_of


@pytest.mark.parametrize(
    ("seeds", "work", "sizes"),
    [
        (1, 1_000_000_000, [1]),
        (3, 5_000_000, [3]),  # two groups would have less than 8 million on average
        (3, 7_000_000, [2, 1]),
        (10, 7_000_000, [5, 5]),
        (4, 100_000_000, [1, 1, 1, 1]),
        (10, 35_000_000, [4, 3, 3]),
        (2, 1_000_000_000, [1, 1]),
    ],
)
def test_sizes_decide_who_is_computed_together(seeds: int, work: int, sizes: list[int]) -> None:
    groups = groups_of(seeds, work)
    assert [seed for group in groups for seed in range(seeds)[group]] == list(range(seeds))
    assert [group.stop - group.start for group in groups] == sizes


def test_a_group_is_trained_as_a_run_of_its_own_and_resumes_to_the_bit(make_engine, monkeypatch) -> None:
    def make(*seeds: int):
        return make_engine(*seeds, algorithm=TD3BCConfig, max_gradient_norm=1.0)

    pair, last = make(4, 5), make(6)
    monkeypatch.setattr(seed_groups, "_LEAST", 1)
    whole, resumed = make(4, 5, 6), make(4, 5, 6)
    for step in range(5):
        if step == 3:  # between two steps of the actor
            resumed.step(0)  # whose number of steps is then another
            resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
        for engine in (pair, last, whole, *([resumed] if step >= 3 else [])):
            engine.step(step)
    assert [group.stop for group in whole._by_groups._groups] == [2, 3]
    for ours, *alone, again in zip(
        *(each.state.tensors() for each in (whole, pair, last, resumed)), strict=True
    ):
        assert torch.equal(ours, torch.cat(alone) if ours.dim() else alone[0])
        assert torch.equal(ours, again)
    assert whole.drain_diagnostics() == resumed.drain_diagnostics()
    ours, pairs, lasts = (engine.latest_diagnostics() for engine in (whole, pair, last))
    assert all(torch.equal(ours[name], torch.cat([pairs[name], lasts[name]])) for name in ours)


def test_launches_of_many_steps_give_the_numbers_of_single_ones(make_engine, monkeypatch) -> None:
    def make():
        return make_engine(4, 5, 6, algorithm=TD3BCConfig)

    monkeypatch.setattr(seed_groups, "_LEAST", 1)
    single, launched = make(), make()
    for step in range(37):
        single.step(step)
    assert launched.advance(0, 37) == 1
    launched.launch_seconds = 1e9
    ends = [1]
    while ends[-1] < 37:
        ends.append(ends[-1] + launched.advance(ends[-1], 37 - ends[-1]))
    assert ends == [1, 16, 32, 37]  # within chunks of streams
    assert all(map(torch.equal, single.state.tensors(), launched.state.tensors()))
    assert single.first_diagnostics() == launched.first_diagnostics()
    assert single.drain_diagnostics() == launched.drain_diagnostics()
    launched.launch_seconds = launched._last_took / 2
    assert launched.advance(37, 11) == 1
