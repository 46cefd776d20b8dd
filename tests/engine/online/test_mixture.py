"""Batches of the online phase: their shares, whose rows they hold, returns-to-go of collected episodes."""

import math

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from cqlbench.algorithms.algorithm import Spaces
from cqlbench.algorithms.cql import CQL, CQLConfig
from cqlbench.algorithms.networks import ActionBox
from cqlbench.algorithms.rebrac import ReBRAC, ReBRACConfig
from cqlbench.core.errors import ConfigError
from cqlbench.data.preprocess import RewardTransform
from cqlbench.engine.online.mixture import EpisodeColumns, Mixture, OnlinePhase, as_columns
from cqlbench.engine.online.rows import OnlineRows

S, OBSERVATION, A, B = 2, 3, 1, 10
CPU = torch.device("cpu")


def filled(count: int, environments: int = 1, capacity: int = 64) -> OnlineRows:
    """Row `i` of seed `s` has the reward `100 s + i`."""
    rows = OnlineRows(S, capacity, OBSERVATION, A, environments)
    numbers = torch.arange(count, dtype=torch.float32) + 100 * torch.arange(S).unsqueeze(1)
    if count:
        rows.extend(
            {
                "observations": numbers.unsqueeze(-1).expand(S, count, OBSERVATION),
                "actions": numbers.unsqueeze(-1).expand(S, count, A),
                "rewards": numbers,
                "next_observations": numbers.unsqueeze(-1).expand(S, count, OBSERVATION),
                "terminated": torch.zeros(S, count, dtype=torch.bool),
                "ended": torch.zeros(S, count, dtype=torch.bool),
            }
        )
    return rows


def dataset_share(step: int, count: int) -> list[Tensor]:
    """Rows whose every number is −1 − step."""
    number = -1.0 - step
    shapes = ((OBSERVATION,), (A,), (), (OBSERVATION,), ())
    return [torch.full((S * count, *shape), number) for shape in shapes]


def mixture(phase: OnlinePhase, seeds: tuple[int, ...] = (0, 1)) -> Mixture:
    return Mixture(phase, dataset_share, seeds, B, CPU)


def test_each_seed_gets_the_datasets_share_and_rows_of_its_own() -> None:
    draw = mixture(OnlinePhase(filled(20), offline_fraction=0.3))
    seen = [set(), set()]
    for step in range(30):
        rewards = draw(step)[2].view(S, B)
        assert (rewards[:, :3] == -1.0 - step).all()
        for seed in range(S):
            seen[seed] |= set(rewards[seed, 3:].tolist())
    assert seen == [set(range(20)), set(range(100, 120))]


def test_columns_stay_together() -> None:
    observations, actions, rewards, following, terminated = mixture(OnlinePhase(filled(20)))(7)
    assert observations.shape == (S * B, OBSERVATION)
    assert torch.equal(observations[:, 0], rewards)
    assert torch.equal(actions[:, 0], rewards)
    assert torch.equal(following[:, 2], rewards)
    assert terminated.shape == (S * B,)


def test_a_seeds_rows_do_not_depend_on_its_company() -> None:
    phase = OnlinePhase(filled(20), offline_fraction=0.0)
    alone = OnlineRows(1, 64, OBSERVATION, A)
    both = phase.rows
    alone.extend({name: column[1:, :20] for name, column in both.columns.items()})
    single = Mixture(OnlinePhase(alone, offline_fraction=0.0), None, (1,), B, CPU)
    together = mixture(phase)
    for step in (0, 15, 16, 40):
        assert torch.equal(together(step)[2].view(S, B)[1], single(step)[2])


@pytest.mark.parametrize(
    ("rows", "expected"), [(0, 10), (1, 10), (10, 6), (20, 2), (40, 2)], ids=lambda value: str(value)
)
def test_the_share_moves_linearly_to_its_end(rows: int, expected: int) -> None:
    phase = OnlinePhase(filled(rows), offline_fraction=1.0, final_offline_fraction=0.2, anneal_rows=20)
    assert phase.offline_rows(B) == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("there_is_room", [True, False])
def test_rows_that_do_not_fit_the_device_are_brought_batch_by_batch(
    monkeypatch: pytest.MonkeyPatch, there_is_room: bool
) -> None:
    monkeypatch.setattr("cqlbench.engine.online.mixture.fits", lambda tensors, device: there_is_room)
    phase, device = OnlinePhase(filled(32), offline_fraction=0.0), torch.device("cuda")
    on_device = Mixture(phase, None, (0, 1), B, device)(5)
    on_host = Mixture(phase, None, (0, 1), B, torch.device("cpu"))(5)
    for one, other in zip(on_device, on_host, strict=True):
        assert one.device.type == "cuda"
        assert torch.equal(one.cpu(), other)


def test_before_anything_is_collected_batches_are_the_datasets() -> None:
    assert (mixture(OnlinePhase(filled(0), offline_fraction=0.0))(3)[2] == -4.0).all()


def test_without_a_dataset_all_rows_are_the_seeds_own() -> None:
    draw = Mixture(OnlinePhase(filled(5), offline_fraction=0.5), None, (0, 1), B, CPU)
    assert set(draw(0)[2].tolist()) <= {*range(5), *range(100, 105)}
    empty = Mixture(OnlinePhase(filled(0)), None, (0, 1), B, CPU)
    with pytest.raises(ConfigError, match="collect"):
        empty(0)


def test_one_buffer_gives_every_row_the_same_chance() -> None:
    phase = OnlinePhase(filled(10), offline_fraction=None)
    draw = Mixture(phase, dataset_share, (0, 1), B, CPU, dataset_rows=30)
    steps, seen = 1_000, [[], []]
    for step in range(steps):
        observations, _, rewards, *_ = draw(step)
        assert torch.equal(observations[:, 0], rewards)
        assert set(rewards[rewards < 0].tolist()) <= {-1.0 - step}
        for seed in range(S):
            seen[seed] += [each for each in rewards.view(S, B)[seed].tolist() if each >= 0]
    for seed in range(S):
        counts = [seen[seed].count(100.0 * seed + row) for row in range(10)]
        assert sum(counts) == len(seen[seed])
        expected = steps * B / 40  # 250; five standard deviations are 78
        assert all(abs(count - expected) < 78 for count in counts)
    assert seen[0] != [each - 100 for each in seen[1]]


def test_one_buffer_is_the_datasets_before_anything_is_collected() -> None:
    phase = OnlinePhase(filled(0), offline_fraction=None)
    assert (Mixture(phase, dataset_share, (0, 1), B, CPU, dataset_rows=30)(3)[2] == -4.0).all()
    own = Mixture(OnlinePhase(filled(5), offline_fraction=None), None, (0, 1), B, CPU)
    assert set(own(0)[2].tolist()) <= {*range(5), *range(100, 105)}


def test_one_buffer_has_no_share_that_changes() -> None:
    with pytest.raises(ConfigError, match="requires an offline_fraction"):
        OnlinePhase(filled(1), offline_fraction=None, final_offline_fraction=0.5)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("offline_fraction", 1.5), ("offline_fraction", -0.1), ("final_offline_fraction", 2.0)],
)
def test_fractions_outside_the_unit_interval_are_refused(setting: str, value: float) -> None:
    with pytest.raises(ConfigError, match=setting):
        OnlinePhase(filled(1), **{setting: value})


def returns_of(
    rows: OnlineRows, transform: RewardTransform, discount: float, lowest: float | None = None
) -> EpisodeColumns:
    config = CQLConfig(calibrated=True, discount=discount, sparse_rewards=lowest is not None)
    columns = CQL(config, Spaces(OBSERVATION, ActionBox.from_bounds(-torch.ones(A), torch.ones(A)))).columns()
    assert list(columns) == ["returns_to_go"]
    return EpisodeColumns(rows, transform, columns, math.nan if lowest is None else lowest)


def expected_returns(rewards: Tensor, ends: list[int], environments: int, discount: float) -> Tensor:
    """One row after the other, backwards; −∞ where the episode has not ended."""
    found = torch.full_like(rewards, -torch.inf)
    for environment in range(environments):
        following, known = 0.0, False
        for row in reversed(range(environment, len(rewards), environments)):
            if row in ends:
                following, known = 0.0, True
            if known:
                following = float(rewards[row]) + discount * following
                found[row] = following
    return found


@pytest.mark.parametrize("environments", [1, 2])
def test_returns_to_go_are_known_once_an_episode_has_ended(environments: int) -> None:
    rows = OnlineRows(S, 24, OBSERVATION, A, environments)
    transform = RewardTransform(2.0, 1.0)
    returns = returns_of(rows, transform, 0.9)
    ends = {0: [5, 13], 1: [8, 9, 20]}
    whole = filled(24, environments, capacity=24)
    for seed, last in ends.items():
        whole.columns["ended"][seed, last] = True
    for first in range(0, 24, 4):
        rows.extend({name: column[:, first : first + 4] for name, column in whole.columns.items()})
        changed = returns.update(first)
        assert changed <= first + 4
    for seed in range(S):
        raw = transform(rows.columns["rewards"][seed])
        expected = expected_returns(raw, ends[seed], environments, 0.9)
        torch.testing.assert_close(returns.columns[0][seed], expected, rtol=1e-6, atol=1e-5)
    at_once = returns_of(rows, transform, 0.9)
    at_once.update(0)
    assert torch.equal(at_once.columns[0], returns.columns[0])


def test_with_sparse_rewards_an_episode_that_failed_fails_for_ever() -> None:
    rows = filled(0)
    rewards = torch.tensor([[0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]])
    ended = torch.tensor([[False, True, False, True], [False, False, False, True]])
    batch = {name: torch.zeros(S, 4, *column.shape[2:]) for name, column in rows.columns.items()}
    rows.extend(batch | {"rewards": rewards, "ended": ended})
    returns = returns_of(rows, RewardTransform(10.0, -5.0), 0.5, lowest=-5.0)
    returns.update(0)
    assert returns.columns[0][0, :4].tolist() == [-10.0, -10.0, -2.5, 5.0]
    assert returns.columns[0][1, :4].tolist() == [-10.0] * 4


def test_an_episode_that_broke_off_ends_with_the_row_before() -> None:
    rows = OnlineRows(S, 12, OBSERVATION, A)
    whole = filled(12, capacity=12)
    whole.columns["ended"][0, 3] = True  # it had ended when the other's environment broke
    ones = {name: column.clone() for name, column in whole.columns.items()}
    ones["rewards"].fill_(1.0)
    returns = returns_of(rows, RewardTransform(), 1.0)
    rows.extend({name: column[:, :4] for name, column in ones.items()})
    returns.update(0)
    rows.extend(
        {name: column[:, 4:8] for name, column in ones.items()}, broken=torch.tensor([[True], [True]])
    )
    returns.update(4)
    unknown = [-torch.inf] * 4
    assert returns.columns[0][0, :8].tolist() == [4.0, 3.0, 2.0, 1.0, *unknown]
    assert returns.columns[0][1, :8].tolist() == [4.0, 3.0, 2.0, 1.0, *unknown]


def test_rebracs_next_actions_are_known_once_an_episode_has_ended() -> None:
    box = ActionBox.from_bounds(-torch.ones(A), torch.ones(A))
    rows, whole = OnlineRows(S, 8, OBSERVATION, A), filled(8, capacity=8)
    whole.columns["ended"][:, [2, 5]] = True
    whole.columns["terminated"][:, 5] = True
    following = EpisodeColumns(
        rows, RewardTransform(), ReBRAC(ReBRACConfig(), Spaces(OBSERVATION, box)).columns(), math.nan
    )
    rows.extend(dict(whole.columns))
    following.update(0)
    unknown = -torch.inf
    assert following.columns[0].shape == (S, 8, A)
    # Row 2 was cut off by time; what follows row 5, which is terminal, counts for nothing.
    assert following.columns[0][0, :, 0].tolist() == [1, 2, unknown, 4, 5, 3, unknown, unknown]


def collected(*shape: int) -> TensorDict:
    number = torch.arange(torch.Size(shape).numel(), dtype=torch.float32).view(*shape, 1)
    flags = torch.zeros(*shape, 1, dtype=torch.bool)
    following = {"observation": number + 1, "reward": number, "terminated": flags, "done": flags}
    return TensorDict({"observation": number, "action": number, "next": following}, batch_size=shape)


def test_torchrl_batches_become_rows_in_time() -> None:
    columns = as_columns(collected(2, 3, 4), 2, 3)  # seeds, environments, time
    assert columns["rewards"].shape == (2, 12)
    assert columns["rewards"][0].tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
    assert columns["observations"].shape == (2, 12, 1)
    assert as_columns(collected(2, 4), 2)["rewards"][1].tolist() == [4, 5, 6, 7]
    assert as_columns(collected(5), 1)["rewards"].tolist() == [[0, 1, 2, 3, 4]]


def test_torchrl_batches_of_another_shape_or_without_a_column_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[3, 4\]"):
        as_columns(collected(3, 4), 2)
    with pytest.raises(ConfigError, match=r"\[2, 3, 4\]"):
        as_columns(collected(2, 3, 4), 2, 2)
    lacking = collected(2, 4).exclude(("next", "reward"))
    with pytest.raises(ConfigError, match="reward"):
        as_columns(lacking, 2)
