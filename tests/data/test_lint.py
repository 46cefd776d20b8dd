from dataclasses import replace

import numpy as np
import pytest

from cqlbench.data import lint
from cqlbench.data.d4rl import read_d4rl
from cqlbench.errors import DatasetError


@pytest.fixture
def transitions(tmp_path, make_episodes, write_d4rl):
    return read_d4rl(write_d4rl(tmp_path / "a.hdf5", make_episodes()))


def test_good_data_passes(transitions):
    lint.check(transitions)


@pytest.mark.parametrize("value", [1.1, -1.5])
def test_action_outside(transitions, value):
    transitions.actions[4, 1] = value
    with pytest.raises(DatasetError, match=r"action of row 4 .* outside the bounds .* \(1 rows in all\)"):
        lint.check(transitions)
    lint.check(transitions, -2.0, [2.0, 2.0])


def test_action_bounds_of_the_environment(transitions):
    with pytest.raises(DatasetError, match="outside the bounds"):
        lint.check(transitions, [-1.0, -1e-3], [1.0, 1e-3])


def test_bound_reached_with_rounding_passes(transitions):
    transitions.actions[0] = np.nextafter(np.float32(1), np.float32(2))
    lint.check(transitions)


def test_one_hot_actions(transitions):
    one_hot = np.eye(3, dtype=np.float32)[np.arange(len(transitions)) % 3]
    lint.check(replace(transitions, actions=one_hot, discrete_actions=True), -2.0, -1.0)


@pytest.mark.parametrize("row", [[0, 0, 0], [1, 1, 0], [0.5, 0.5, 0], [1, 1, -1], [2, -1, 0]])
def test_discrete_actions_that_are_not_one_hot(transitions, row):
    one_hot = np.eye(3, dtype=np.float32)[np.arange(len(transitions)) % 3]
    one_hot[5] = row
    with pytest.raises(DatasetError, match=r"action of row 5 .* zeros with one 1 \(1 rows in all\)"):
        lint.check(replace(transitions, actions=one_hot, discrete_actions=True))


@pytest.mark.parametrize("name", ["observations", "actions", "rewards", "next_observations"])
def test_not_finite(transitions, name):
    getattr(transitions, name)[5] = np.nan
    with pytest.raises(DatasetError, match=f"'{name}' holds NaN or infinity, first at row 5"):
        lint.check(transitions)


def test_next_observation_is_not_the_following_one(transitions):
    transitions.next_observations[4, 0] += 0.5
    with pytest.raises(DatasetError, match="At row 4 "):
        lint.check(transitions)


def test_ends_may_jump(transitions):
    transitions.next_observations[transitions.episode_ends] += 0.5
    lint.check(transitions)


@pytest.mark.parametrize("starts", [[], [1], [0, 3, 3], [0, 5, 2], [0, 99]])
def test_episode_starts(transitions, starts):
    with pytest.raises(DatasetError, match="episode_starts"):
        lint.check(replace(transitions, episode_starts=np.array(starts, np.int64)))


def test_flag_inside_an_episode(transitions):
    transitions.truncated[1] = True
    with pytest.raises(DatasetError, match=r"Row 1 .* flagged as an end"):
        lint.check(transitions)
