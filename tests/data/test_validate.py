from dataclasses import replace

import numpy as np
import pytest

from cqlbench.core.errors import DatasetError
from cqlbench.data import validate
from cqlbench.data.readers.d4rl import read_d4rl
from cqlbench.data.validate import Expected


@pytest.fixture
def transitions(tmp_path, make_episodes, write_d4rl):
    return read_d4rl(write_d4rl(tmp_path / "a.hdf5", make_episodes()))


def test_good_data_passes(transitions):
    validate.check(transitions)


@pytest.mark.parametrize("value", [1.1, -1.5])
def test_action_outside(transitions, value):
    transitions.actions[4, 1] = value
    with pytest.raises(DatasetError, match=r"action of row 4 .* outside the bounds .* \(1 rows in all\)"):
        validate.check(transitions)
    validate.check(transitions, Expected(-2.0, [2.0, 2.0]))


def test_action_bounds_of_the_environment(transitions):
    with pytest.raises(DatasetError, match="outside the bounds"):
        validate.check(transitions, Expected([-1.0, -1e-3], [1.0, 1e-3]))


def test_bound_reached_with_rounding_passes(transitions):
    transitions.actions[0] = np.nextafter(np.float32(1), np.float32(2))
    validate.check(transitions)


def test_one_hot_actions(transitions):
    one_hot = np.eye(3, dtype=np.float32)[np.arange(len(transitions)) % 3]
    validate.check(replace(transitions, actions=one_hot, discrete_actions=True), Expected(-2.0, -1.0))


@pytest.mark.parametrize("row", [[0, 0, 0], [1, 1, 0], [0.5, 0.5, 0], [1, 1, -1], [2, -1, 0]])
def test_discrete_actions_that_are_not_one_hot(transitions, row):
    one_hot = np.eye(3, dtype=np.float32)[np.arange(len(transitions)) % 3]
    one_hot[5] = row
    with pytest.raises(DatasetError, match=r"action of row 5 .* zeros with one 1 \(1 rows in all\)"):
        validate.check(replace(transitions, actions=one_hot, discrete_actions=True))


@pytest.mark.parametrize("name", ["observations", "actions", "rewards", "next_observations"])
def test_not_finite(transitions, name):
    getattr(transitions, name)[5] = np.nan
    with pytest.raises(DatasetError, match=f"'{name}' holds NaN or infinity, first at row 5"):
        validate.check(transitions)


def test_next_observation_is_not_the_following_one(transitions):
    transitions.next_observations[4, 0] += 0.5
    with pytest.raises(DatasetError, match="At row 4 "):
        validate.check(transitions)


def test_ends_may_jump(transitions):
    transitions.next_observations[transitions.episode_ends] += 0.5
    validate.check(transitions)


@pytest.mark.parametrize("starts", [[], [1], [0, 3, 3], [0, 5, 2], [0, 99]])
def test_episode_starts(transitions, starts):
    with pytest.raises(DatasetError, match="episode_starts"):
        validate.check(replace(transitions, episode_starts=np.array(starts, np.int64)))


def test_flag_inside_an_episode(transitions):
    transitions.truncated[1] = True
    with pytest.raises(DatasetError, match=r"row 1 .* end is flagged"):
        validate.check(transitions)


def found(transitions, check, expected=None):
    """The finding of one check."""
    return next(finding for finding in validate.examine(transitions, expected) if finding.check == check)


def test_findings_name_their_first_rows(transitions):
    transitions.actions[[2, 4, 5, 6, 7, 8, 9], 0] = 3
    finding = found(transitions, "action bounds")
    assert (finding.severity, finding.count, finding.rows) == ("error", 7, (2, 4, 5, 6, 7))


def test_all_faults_are_listed_at_once(transitions):
    transitions.actions[0] = 3
    transitions.next_observations[4] += 1
    transitions.observations[:, 1] = 0
    transitions.next_observations[:, 1] = 0
    severities = {finding.check: finding.severity for finding in validate.examine(transitions)}
    assert severities["action bounds"] == severities["next observations"] == "error"
    assert severities["constant dimensions"] == "warning"
    assert severities["finite values"] == severities["reward mass"] == "ok"


def test_clipping_is_told_and_enough(transitions):
    transitions.actions[[3, 5], 1] = [1.5, -2]
    assert validate.clip_actions(transitions, Expected(clippable=0.5)) == 2
    assert transitions.actions[[3, 5], 1].tolist() == [1, -1]
    validate.check(transitions)
    assert validate.clip_actions(transitions, Expected()) == 0


def test_clipping_many_rows_is_refused(tmp_path, make_episodes, write_d4rl):
    transitions = read_d4rl(write_d4rl(tmp_path / "a.hdf5", make_episodes(["truncated"] * 2, [100, 100])))
    transitions.actions[:2] *= np.nextafter(1, 2)  # rounding does not count
    transitions.actions[7] = 1.5
    assert "clip_actions=true" in found(transitions, "action bounds").message
    assert validate.clip_actions(transitions, Expected()) == 1
    transitions.actions[:] *= 90  # degrees
    message = found(transitions, "action bounds").message
    assert "action_low=" in message
    assert "clip_actions" not in message
    before = transitions.actions.copy()
    with pytest.raises(DatasetError, match=r"too many to be clipped.*action_low="):
        validate.clip_actions(transitions, Expected())
    np.testing.assert_array_equal(transitions.actions, before)
    validate.check(transitions, Expected([-90, -91], 90))
    with pytest.raises(DatasetError, match="3 bounds were stated"):
        validate.check(transitions, Expected([-90, -90, -90], 90))


def test_lost_reward(tmp_path, make_episodes, write_d4rl, d4rl_arrays):
    """Only time-limit rows are rewarded, and without next observations those cannot be kept."""
    episodes = make_episodes(["truncated"] * 4, [20] * 4)
    rewards = d4rl_arrays(episodes)["timeouts"].astype(np.float32)
    lost = read_d4rl(
        write_d4rl(tmp_path / "a.hdf5", episodes, without=("next_observations",), rewards=rewards)
    )
    with pytest.raises(DatasetError, match=r"sum of \|reward\| from 4 to 0, while 5.00% of the rows"):
        validate.check(lost)
    validate.check(read_d4rl(write_d4rl(tmp_path / "b.hdf5", episodes, rewards=rewards)))


def test_changed_reward(transitions):
    assert found(transitions, "reward mass").severity == "ok"
    transitions.rewards[3] += 5
    assert found(transitions, "reward mass").severity == "error"


def test_duplicated_episodes(tmp_path, make_episodes, write_d4rl):
    one, two = make_episodes(["terminated"] * 2, [4, 4])
    transitions = read_d4rl(write_d4rl(tmp_path / "a.hdf5", [one, two, one, one]))
    finding = found(transitions, "duplicated episodes")
    assert (finding.severity, finding.count, finding.rows) == ("warning", 2, (8, 12))
    transitions.observations[9] += 1e-3
    assert found(transitions, "duplicated episodes").rows == (12,)


def test_constant_dimensions(transitions):
    transitions.observations[:, [0, 2]] = 1.5
    transitions.actions[:, 1] = 0
    message = found(transitions, "constant dimensions").message
    assert message == "Dimensions never change: observations 0, 2; actions 1."


def test_what_the_card_says(transitions):
    whole = transitions.episode_returns[:2].mean()
    right = Expected(transitions=12, episodes=3, mean_return=whole * 1.005)
    assert {finding.severity for finding in validate.examine(transitions, right)} == {"ok"}
    wrong = Expected(transitions=13, episodes=4, mean_return=whole * 1.05)
    severities = [f.severity for f in validate.examine(transitions, wrong) if f.check.startswith("card's")]
    assert severities == ["error", "warning", "warning"]
    with pytest.raises(DatasetError, match=r"transitions: 12, .* 13"):
        validate.check(transitions, wrong)


def test_warnings_do_not_refuse(transitions):
    transitions.actions[:, 1] = 0
    assert validate.check(transitions) == ("Dimensions never change: actions 1.",)
