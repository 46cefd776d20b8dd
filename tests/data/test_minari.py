import dataclasses
import json

import h5py
import numpy as np
import pytest
from gymnasium.spaces import Box
from minari import create_dataset_from_buffers
from minari.data_collector import EpisodeBuffer

from cqlbench.data import lint
from cqlbench.data.d4rl import read_d4rl
from cqlbench.data.discrete import DiscreteSpace
from cqlbench.data.minari import discrete_actions, read_minari
from cqlbench.errors import DatasetError

FIELDS = (
    "observations",
    "actions",
    "rewards",
    "next_observations",
    "terminated",
    "truncated",
    "episode_starts",
)


def test_values_of_every_kind_of_end_and_episode_order(tmp_path, make_episodes, write_minari, d4rl_arrays):
    ends = [("terminated", "truncated", "cut", "both")[index % 4] for index in range(12)]
    episodes = make_episodes(ends)
    transitions = read_minari(write_minari(tmp_path / "m", episodes))
    arrays = d4rl_arrays(episodes)
    np.testing.assert_array_equal(transitions.observations, arrays["observations"])
    np.testing.assert_array_equal(transitions.next_observations, arrays["next_observations"])
    np.testing.assert_array_equal(transitions.actions, arrays["actions"])
    np.testing.assert_array_equal(transitions.rewards, arrays["rewards"])
    np.testing.assert_array_equal(transitions.terminated, arrays["terminals"])
    np.testing.assert_array_equal(transitions.truncated, arrays["timeouts"])
    lengths = [len(episode.rewards) for episode in episodes]
    np.testing.assert_array_equal(transitions.episode_starts, np.cumsum([0, *lengths[:-1]]))
    assert transitions.dropped_rows == 0
    assert transitions.notes == ()
    lint.check(transitions)


def test_same_episodes_in_both_schemas_are_identical(tmp_path, make_episodes, write_minari, write_d4rl):
    episodes = make_episodes(("terminated", "truncated", "both", "terminated", "cut"))
    ours = read_minari(write_minari(tmp_path / "m", episodes))
    theirs = read_d4rl(write_d4rl(tmp_path / "d.hdf5", episodes))
    for name in FIELDS:
        left, right = getattr(ours, name), getattr(theirs, name)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    assert (ours.dropped_rows, ours.notes) == (theirs.dropped_rows, theirs.notes)


# Minari's advice on a dataset that names no environment.
@pytest.mark.filterwarnings("ignore:`eval_env` is set to None:UserWarning")
@pytest.mark.filterwarnings("ignore:env_spec is None, no environment spec:UserWarning")
def test_dataset_written_by_minari_itself(tmp_path, make_episodes, write_minari):
    # 12 of them: by its name, episode_10 stands before episode_2.
    episodes = make_episodes(("terminated", "truncated", "both") * 4)
    buffers = [
        EpisodeBuffer(
            id=index,
            observations=episode.observations,
            actions=episode.actions,
            rewards=episode.rewards.tolist(),
            terminations=episode.flags("terminated", "both").tolist(),
            truncations=episode.flags("truncated", "both").tolist(),
        )
        for index, episode in enumerate(episodes)
    ]
    create_dataset_from_buffers(
        "mujoco/test/tiny-v0",
        buffers,
        observation_space=Box(-np.inf, np.inf, (3,), np.float32),
        action_space=Box(-1, 1, (2,), np.float32),
        algorithm_name="made up",
        author="cqlbench",
        author_email="none",
        code_permalink="none",
        description="none",
        data_format="hdf5",
    )
    theirs = read_minari(tmp_path / "minari" / "mujoco" / "test" / "tiny-v0")
    ours = read_minari(write_minari(tmp_path / "m", episodes))
    np.testing.assert_array_equal(theirs.observations[:3], episodes[0].observations[:-1])
    for name in FIELDS:
        left, right = getattr(theirs, name), getattr(ours, name)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    assert (theirs.dropped_rows, theirs.notes) == (0, ())
    lint.check(theirs)


def test_metadata_may_be_missing_and_data_folder_will_do(tmp_path, make_episodes, write_minari):
    folder = write_minari(tmp_path / "m", make_episodes(), metadata=False)
    assert len(read_minari(folder / "data")) == len(read_minari(folder)) == 12


def test_episode_without_steps_is_left_out(tmp_path, make_episodes, write_minari):
    no_flags = np.zeros(0, np.bool_)
    folder = write_minari(
        tmp_path / "m",
        make_episodes(),
        observations=np.zeros((1, 3)),
        actions=np.zeros((0, 2)),
        rewards=np.zeros(0),
        terminations=no_flags,
        truncations=no_flags,
    )
    transitions = read_minari(folder)
    assert len(transitions) == 9
    assert transitions.episode_starts.tolist() == [0, 4]
    assert "1 episodes" in transitions.notes[0]


def test_missing_folder(tmp_path):
    with pytest.raises(DatasetError, match="is not a Minari dataset"):
        read_minari(tmp_path / "none")


def test_no_episodes(tmp_path, write_minari):
    with pytest.raises(DatasetError, match="no transitions"):
        read_minari(write_minari(tmp_path / "m", []))


def test_incomplete_copy(tmp_path, make_episodes, write_minari):
    folder = write_minari(tmp_path / "m", make_episodes())
    (folder / "data" / "metadata.json").write_text(json.dumps({"total_episodes": 9}))
    with pytest.raises(DatasetError, match=r"holds 3 episodes, but its metadata.json says 9"):
        read_minari(folder)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_broken_metadata(tmp_path, make_episodes, write_minari, text):
    folder = write_minari(tmp_path / "m", make_episodes())
    (folder / "data" / "metadata.json").write_text(text)
    with pytest.raises(DatasetError, match=r"metadata.json"):
        read_minari(folder)


def test_arrow_storage(tmp_path):
    (tmp_path / "m" / "data").mkdir(parents=True)
    (tmp_path / "m" / "data" / "metadata.json").write_text(json.dumps({"data_format": "arrow"}))
    with pytest.raises(DatasetError, match="stored as 'arrow', which is not supported yet"):
        read_minari(tmp_path / "m")


@pytest.mark.parametrize(("what", "kind"), [("observation", "Discrete"), ("action", "MultiDiscrete")])
def test_spaces_that_are_not_boxes(tmp_path, make_episodes, write_minari, what, kind):
    folder = write_minari(tmp_path / "m", make_episodes())
    facts = {f"{what}_space": json.dumps({"type": kind, "n": 3})}
    (folder / "data" / "metadata.json").write_text(json.dumps(facts))
    with pytest.raises(DatasetError, match=f"the {what} space '{kind}', which is not supported yet"):
        read_minari(folder)


def test_dictionary_observations(tmp_path, make_episodes, write_minari):
    folder = write_minari(tmp_path / "m", make_episodes(), observations=None)
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        file["episode_0/observations/achieved_goal"] = np.zeros((4, 2))
    with pytest.raises(
        DatasetError, match=r"'episode_0/observations' .* dictionary, which is not supported yet"
    ):
        read_minari(folder)


def discrete(write_minari, folder, episodes, space, **replaced):
    """`write_minari` with actions `[T]`, and metadata that say so."""
    numbered = [
        dataclasses.replace(episode, actions=np.arange(len(episode.rewards)) % 3 + space.get("start", 0))
        for episode in episodes
    ]
    write_minari(folder, numbered, **replaced)
    facts = {"total_episodes": len(episodes), "action_space": json.dumps({"type": "Discrete", **space})}
    (folder / "data" / "metadata.json").write_text(json.dumps(facts))
    return folder


@pytest.mark.parametrize("start", [0, -1, 5])
def test_discrete_actions_are_one_hot_rows(tmp_path, make_episodes, write_minari, start):
    episodes = make_episodes()
    folder = discrete(write_minari, tmp_path / "m", episodes, {"n": 4, "start": start})
    transitions = read_minari(folder)
    expected = [np.eye(4)[number % 3] for episode in episodes for number in range(len(episode.rewards))]
    np.testing.assert_array_equal(transitions.actions, expected)
    assert transitions.actions.dtype == np.float32
    assert transitions.discrete_actions
    assert discrete_actions(folder) == discrete_actions(folder / "data") == DiscreteSpace(4, start)
    continuous = read_minari(write_minari(tmp_path / "c", episodes))
    np.testing.assert_array_equal(transitions.observations, continuous.observations)
    assert not continuous.discrete_actions
    assert discrete_actions(tmp_path / "c") is None
    lint.check(transitions)


@pytest.mark.parametrize(
    ("actions", "sentence"),
    [
        ([0, 1, 2], "is 0 at row 0, but the actions of its metadata.json are 1 to 3"),
        ([1, 3, 4], "is 4 at row 2"),
        ([1, 1.5, 2], "is 1.5 at row 1"),
        (np.zeros((3, 2)), r"has the shape \[3, 2\]"),
    ],
)
def test_numbers_that_are_no_action(tmp_path, make_episodes, write_minari, actions, sentence):
    space = {"n": 3, "start": 1}
    folder = discrete(write_minari, tmp_path / "m", make_episodes(), space, actions=np.asarray(actions))
    with pytest.raises(DatasetError, match=f"'episode_0/actions' of .* {sentence}"):
        read_minari(folder)


def test_single_numbers_without_a_discrete_space(tmp_path, make_episodes, write_minari):
    folder = write_minari(tmp_path / "m", make_episodes(), actions=np.zeros(3, np.int64))
    with pytest.raises(DatasetError, match=r"'episode_0/actions' .* single numbers, but its metadata.json"):
        read_minari(folder)


BAD = {
    "missing": ({"rewards": None}, "'episode_0' of .* lacks rewards"),
    "as many observations": ({"observations": np.zeros((3, 3))}, "has 3 rows for 3 actions"),
    "short rewards": ({"rewards": np.zeros(2)}, "'episode_0/rewards' .* has 2 rows for 3 actions"),
    "other size": ({"observations": np.zeros((4, 5))}, "'episode_1' .* observes 3 numbers"),
    "nan": ({"rewards": np.array([0, np.nan, 0])}, "'episode_0/rewards' .* first at row 1"),
    "flag": ({"truncations": np.array([0, 2, 0])}, "'episode_0/truncations' .* row 1 is 2"),
    "strings": ({"rewards": np.array([b"a", b"b", b"c"])}, "'episode_0/rewards' .* type"),
}


@pytest.mark.parametrize(("replaced", "sentence"), BAD.values(), ids=BAD)
def test_bad_array(tmp_path, make_episodes, write_minari, replaced, sentence):
    with pytest.raises(DatasetError, match=sentence):
        read_minari(write_minari(tmp_path / "m", make_episodes(), **replaced))


def test_episode_is_an_array(tmp_path, make_episodes, write_minari):
    folder = write_minari(tmp_path / "m", make_episodes(), metadata=False)
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        file["episode_3"] = np.zeros(3)
    with pytest.raises(DatasetError, match=r"'episode_3' .* is not a group"):
        read_minari(folder)


def test_end_flag_inside_an_episode_is_caught_by_the_lint(tmp_path, make_episodes, write_minari):
    flags = np.array([False, True, False])
    transitions = read_minari(write_minari(tmp_path / "m", make_episodes(), terminations=flags))
    with pytest.raises(DatasetError, match=r"Row 1 .* flagged as an end"):
        lint.check(transitions)
