"""Each quirk on record, on a small file that has it."""

import h5py
import numpy as np
import pytest

from cqlbench.core.errors import DatasetError
from cqlbench.data import validate
from cqlbench.data.cards import QUIRKS, Card
from cqlbench.data.readers import quirks
from cqlbench.data.readers.d4rl import read_d4rl


def known(*quirks, limit=None):
    """The card of a file with these quirks."""
    return Card("", "path", quirks=quirks, max_episode_steps=limit)


def write(path, observations, terminals, timeouts, rewards=None, **more):
    rows = len(observations)
    with h5py.File(path, "w") as file:
        file["observations"] = np.asarray(observations, np.float32)
        file["actions"] = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
        file["rewards"] = np.arange(rows, dtype=np.float32) if rewards is None else rewards
        file["terminals"] = np.isin(np.arange(rows), terminals)
        file["timeouts"] = np.isin(np.arange(rows), timeouts)
        for key, value in more.items():
            file[key] = value
    return path


def walk(*lengths, step=0.1, apart=30.0):
    """Positions of walkers that are put back, each somewhere else, and something that changes at random."""
    rng = np.random.default_rng(0)
    positions = [
        np.stack([apart * (index % 2) + step * np.arange(length), np.zeros(length)], axis=1)
        for index, length in enumerate(lengths)
    ]
    return np.hstack([np.concatenate(positions), rng.normal(size=(sum(lengths), 2))])


def test_every_quirk_with_a_function_is_a_card_s():
    assert set(quirks.MENDED) < set(QUIRKS)


def test_timeouts_out_of_step_are_found_where_the_position_jumps(tmp_path):
    """D4RL issues 77 and 146: antmaze v0."""
    observations = walk(50, 70, 60)
    path = write(tmp_path / "a.hdf5", observations, [], [52, 123, 179])
    wrong = read_d4rl(path)
    assert np.abs(wrong.next_observations - wrong.observations)[:, 0].max() > 20  # the ant flies
    transitions = read_d4rl(path, known("timeouts_out_of_step"))
    assert transitions.episode_lengths.tolist() == [49, 69, 59]
    assert transitions.rewards[[0, 49, 118]].tolist() == [0, 50, 120]
    assert np.abs(transitions.next_observations - transitions.observations)[:, 0].max() < 0.2
    assert "2 ends were found where the position jumps" in transitions.notes[0]
    validate.check(transitions)


def test_timeouts_out_of_step_with_next_observations(tmp_path):
    observations = walk(50, 70)
    following = np.roll(observations, -1, axis=0).astype(np.float32)
    following[[49, 119]] = 7.0
    path = write(tmp_path / "a.hdf5", observations, [], [52, 119], next_observations=following)
    transitions = read_d4rl(path, known("timeouts_out_of_step"))
    assert transitions.episode_starts.tolist() == [0, 50]
    assert np.flatnonzero(transitions.truncated).tolist() == [49]
    validate.check(transitions)


def test_timeouts_that_mark_goals_leave_no_stale_row(tmp_path):
    """D4RL issues 85 and 204: maze2d. Row 4 repeats row 3's observation, although the ball had moved on."""
    observations = walk(4, 5)
    observations[4] = observations[3]
    path = write(tmp_path / "a.hdf5", observations, [], [3])
    transitions = read_d4rl(path, known("timeouts_mark_goals"))
    assert transitions.rewards.tolist() == [0, 1, 2, 5, 6, 7]
    assert transitions.episode_starts.tolist() == [0, 3]
    assert transitions.dropped_rows == 3
    assert "1 rows after them repeat" in transitions.notes[0]
    np.testing.assert_array_equal(
        transitions.next_observations[:-1][[0, 1]], transitions.observations[[1, 2]]
    )
    validate.check(transitions)


def test_timeouts_that_mark_goals_need_timeouts(tmp_path, make_episodes, write_d4rl):
    path = write_d4rl(tmp_path / "a.hdf5", make_episodes(), without=("timeouts",))
    with pytest.raises(DatasetError, match="needs a file with 'timeouts'"):
        read_d4rl(path, known("timeouts_mark_goals"))


def states(values):
    """Infos that hold `values`, `[T, 4]`."""
    values = np.asarray(values, np.float32)
    return {"infos/qpos": values[:, :3], "infos/qvel": values[:, 3:]}


ANTMAZE = ("infos_hold_states", "terminals_mark_goals", "labels_of_next_row")
ANTMAZE_V0 = ("timeouts_out_of_step", *ANTMAZE)
MAZE2D = ("infos_hold_states", "timeouts_mark_goals", "rewards_of_the_state")


@pytest.mark.parametrize(
    ("names", "timeouts"), [(ANTMAZE, [49, 119, 179]), (ANTMAZE_V0, [52, 123, 179])], ids=["v2", "v0"]
)
def test_states_after_the_step_are_the_next_observations(tmp_path, names, timeouts):
    """antmaze: nothing else tells what a time limit's row, or the file's last, led to."""
    observations = walk(50, 70, 60)
    after = np.roll(observations, -1, axis=0)
    after[[49, 119, 179]] = np.random.default_rng(1).normal(size=(3, 4))
    path = write(tmp_path / "a.hdf5", observations, [], timeouts, **states(after))
    transitions = read_d4rl(path, known(*names))
    assert transitions.dropped_rows == 0
    assert transitions.episode_starts.tolist() == [0, 50, 120]
    assert np.flatnonzero(transitions.truncated)[:2].tolist() == [49, 119]
    np.testing.assert_array_equal(transitions.observations, observations.astype(np.float32))
    np.testing.assert_array_equal(transitions.next_observations, after.astype(np.float32))
    validate.check(transitions)


@pytest.mark.parametrize("with_states", [True, False])
def test_labels_of_another_episodes_first_row_are_dropped(tmp_path, with_states):
    """antmaze: the labels of rows 79, 139 and 189 are those of the next episode's first row, or made up.

    Row 79 is said to lead to the goal, at which the second episode starts; row 139 is not, although the ant
    was there a row before.
    """
    observations = walk(80, 60, 50)
    after = np.roll(observations, -1, axis=0)
    after[[79, 139, 189]] = 100.0
    rewards = np.isin(np.arange(190), [79, 138, 160]).astype(np.float32)
    infos = states(after) if with_states else {}
    path = write(tmp_path / "a.hdf5", observations, [79, 138, 160], [79, 139], rewards, **infos)
    transitions = read_d4rl(path, known(*ANTMAZE))
    assert np.flatnonzero(transitions.terminated).tolist() == [137, 158]  # 138 and 160, two rows before
    assert "2 last rows" in " ".join(transitions.notes)
    assert transitions.dropped_rows == (2 if with_states else 3)
    assert not transitions.truncated.any()
    assert transitions.rewards.sum() == 2
    validate.check(transitions)


def recorded_in_maze2d(goals=(29, 60)):
    """States of one ball, and what D4RL's script takes down: after a goal, what it saw before."""
    trajectory = walk(100)
    observations = trajectory.copy()
    observations[np.add(goals, 1)] = observations[list(goals)]
    return trajectory, observations, list(goals)


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_states_before_the_step_replace_stale_observations(tmp_path, version):
    trajectory, observations, goals = recorded_in_maze2d()
    rewards = np.exp(-np.abs(observations[:, 0] - 5)).astype(np.float32)
    names = MAZE2D if version == "v1" else MAZE2D[:2]
    path = write(tmp_path / "a.hdf5", observations, [], goals, rewards, **states(trajectory))
    transitions = read_d4rl(path, known(*names))
    trajectory = trajectory.astype(np.float32)
    assert transitions.dropped_rows == 1
    np.testing.assert_array_equal(transitions.observations, trajectory[:-1])
    np.testing.assert_array_equal(transitions.next_observations, trajectory[1:])
    np.testing.assert_array_equal(transitions.rewards, rewards[1:] if version == "v1" else rewards[:-1])
    assert transitions.episode_starts.tolist() == [0, 30, 61]
    assert np.flatnonzero(transitions.truncated).tolist() == goals
    assert "2 observations that repeated" in transitions.notes[0]
    validate.check(transitions)


@pytest.mark.parametrize("fault", ["shuffled", "elsewhere", "narrow", "short", "half"])
def test_infos_that_are_not_the_states_are_not_read(tmp_path, fault):
    trajectory, observations, goals = recorded_in_maze2d()
    infos = states(trajectory)
    if fault == "shuffled":
        infos = states(np.random.default_rng(0).permutation(trajectory))
    elif fault == "elsewhere":
        infos["infos/qpos"][50] += 1  # no goal was reached before it
    elif fault == "half":
        del infos["infos/qvel"]
    else:
        for name, values in infos.items():
            infos[name] = values[:-1] if fault == "short" else values[:, :1]
    path = write(tmp_path / "a.hdf5", observations, [], goals, **infos)
    transitions = read_d4rl(path, known(*MAZE2D))
    assert transitions.dropped_rows == 5
    assert "infos" in transitions.notes[0]
    plain = read_d4rl(path, known(*MAZE2D[1:]))
    np.testing.assert_array_equal(transitions.next_observations, plain.next_observations)


def test_rewards_of_the_state_move_to_the_action_that_earned_them(tmp_path):
    """D4RL issue 194: maze2d. rewards[t] = [observations[t] is at the goal]."""
    observations = np.arange(12.0).reshape(12, 1).repeat(2, axis=1)
    reached = (observations[:, 0] >= 4) & (observations[:, 0] < 7)
    path = write(tmp_path / "a.hdf5", observations, [], [8], rewards=reached.astype(np.float32))
    transitions = read_d4rl(path, known("rewards_of_the_state"))
    next_at_goal = (transitions.next_observations[:, 0] >= 4) & (transitions.next_observations[:, 0] < 7)
    np.testing.assert_array_equal(transitions.rewards, next_at_goal)
    assert transitions.rewards.sum() == 3
    validate.check(transitions)


def test_rewards_of_the_state_and_terminals_do_not_go_together(tmp_path):
    path = write(tmp_path / "a.hdf5", walk(6), [2], [])
    with pytest.raises(DatasetError, match="'rewards_of_the_state' needs a file without terminals"):
        read_d4rl(path, known("rewards_of_the_state"))


def test_terminals_at_the_goal_do_not_end_the_recording(tmp_path):
    """antmaze: the ant stays at the goal in rows 3 to 5, and the time limit comes at row 7."""
    observations = walk(8, 6, 5)
    rewards = np.zeros(19, np.float32)
    rewards[3:6] = 1
    path = write(tmp_path / "a.hdf5", observations, [3, 4, 5], [7, 13], rewards=rewards)
    transitions = read_d4rl(path, known("terminals_mark_goals"))
    assert transitions.episode_starts.tolist() == [0, 4, 5, 6, 7, 12]
    assert transitions.continuations.tolist() == [4, 5, 6]
    assert transitions.dropped_rows == 3
    # A terminal row's next observation is the true one, and every other's too.
    np.testing.assert_array_equal(transitions.next_observations[:7], observations[1:8].astype(np.float32))
    # One success, one failure; the rows after the goal are no episodes, nor is what the file's end cut off.
    assert transitions.episode_returns[transitions.whole_episodes].tolist() == [1.0, 0.0]
    validate.check(transitions)


def test_single_rewards_at_the_goal_are_kept_and_told(tmp_path):
    """D4RL issue 199: antmaze-umaze-diverse."""
    path = write(tmp_path / "a.hdf5", walk(8), [3], [7], rewards=np.eye(8, dtype=np.float32)[3])
    names = ("one_reward_per_goal", "terminals_mark_goals")
    transitions = read_d4rl(path, known(*names))
    assert transitions.rewards.sum() == transitions.terminated.sum() == 1
    assert f"On record: {QUIRKS['one_reward_per_goal']}." in transitions.notes


@pytest.mark.parametrize("limit", [None, 5, 6])
def test_only_episodes_of_the_stated_time_limit_reached_it(tmp_path, limit):
    path = write(tmp_path / "a.hdf5", walk(5, 6, 3, 5), [4, 10, 13, 18], [])
    transitions = read_d4rl(path, known("time_limits_in_terminals", limit=limit))
    ended = transitions.episode_lengths[transitions.terminated[transitions.episode_ends]].tolist()
    assert ended == ([6, 3] if limit == 5 else [5, 3, 5])


def test_failures_alone_hold_no_time_limit(tmp_path):
    path = write(tmp_path / "a.hdf5", walk(5, 6, 3), [4, 10, 13], [])
    with pytest.raises(DatasetError, match="max_episode_steps="):
        read_d4rl(path, known("time_limits_in_terminals", limit=100))


def test_no_row_looks_into_the_next_episode_and_none_is_lost(
    tmp_path, make_episodes, write_d4rl, d4rl_arrays
):
    """D4RL issue 145: `qlearning_dataset` takes a terminal row's next observation from the next episode, and
    drops the file's last row."""
    episodes = make_episodes(("terminated", "terminated"), [3, 4])
    arrays = d4rl_arrays(episodes)
    transitions = read_d4rl(write_d4rl(tmp_path / "a.hdf5", episodes))
    assert len(transitions) == 7
    np.testing.assert_array_equal(transitions.next_observations, arrays["next_observations"])
    derived = read_d4rl(write_d4rl(tmp_path / "b.hdf5", episodes, without=("next_observations",)))
    assert len(derived) == 7
    assert not (derived.next_observations[2] == arrays["observations"][3]).any()
