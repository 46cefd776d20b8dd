"""robomimic's layout: the same rows as D4RL's schema, and a sentence for what cannot be read."""

import json

import h5py
import numpy as np
import pytest

from cqlbench.core.errors import DatasetError
from cqlbench.data.cards import Card
from cqlbench.data.imported import recorded_environment
from cqlbench.data.load import provide
from cqlbench.data.readers.d4rl import read_d4rl
from cqlbench.data.resolve import resolve
from cqlbench.data.validate import check

FIELDS = (
    "observations",
    "actions",
    "rewards",
    "next_observations",
    "terminated",
    "truncated",
    "episode_starts",
)
ENDS = ["terminated"] * 9 + ["cut"] * 3
LENGTHS = list(range(10, 22))


@pytest.fixture
def episodes(make_episodes):
    return make_episodes(ENDS, LENGTHS, observation_size=5)


@pytest.fixture
def write(tmp_path, episodes):
    """`write(change)` -> a file in robomimic's layout, its demonstrations out of order."""

    def writer(change=None, images=False):
        path = tmp_path / "low_dim.hdf5"
        with h5py.File(path, "w") as file:
            data = file.create_group("data")
            data.attrs["total"] = sum(LENGTHS)
            data.attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": {}})
            for number, episode in reversed(list(enumerate(episodes))):
                demo = data.create_group(f"demo_{number}")
                demo.attrs["num_samples"] = len(episode.rewards)
                demo["actions"] = episode.actions.astype(np.float64)
                demo["rewards"] = episode.rewards
                demo["dones"] = episode.flags("terminated").astype(np.int64)
                demo["states"] = np.zeros((len(episode.rewards), 9))
                for key, states in (
                    ("obs", episode.observations[:-1]),
                    ("next_obs", episode.observations[1:]),
                ):
                    demo[f"{key}/pose"], demo[f"{key}/grip"] = states[:, :4], states[:, 4]
                    if images:
                        demo[f"{key}/view"] = np.zeros((len(states), 4, 4, 3), np.uint8)
            file["mask/train"] = np.array([b"demo_0", b"demo_1"])
            if change:
                change(data)
        return path

    return writer


@pytest.mark.parametrize("following", [True, False])
def test_the_same_rows_as_in_d4rls_schema(write, tmp_path, write_d4rl, d4rl_arrays, episodes, following):
    timeouts = d4rl_arrays(episodes)["timeouts"]
    timeouts[np.cumsum(LENGTHS)[9:] - 1] = True  # cut: the next row is another demonstration's
    without = () if following else ("next_observations",)
    right = read_d4rl(write_d4rl(tmp_path / "a.hdf5", episodes, without, timeouts=timeouts))
    read = read_d4rl(
        write(None if following else drop("next_obs")), Card("", "path", observation_keys=("pose", "grip"))
    )
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(read, name), getattr(right, name))
    check(read)
    assert "12 demonstrations" in read.notes[0]


def test_all_observations_are_joined_by_name(write, episodes):
    read = read_d4rl(write())
    first = episodes[0].observations[0]
    np.testing.assert_array_equal(read.observations[0], first[[4, 0, 1, 2, 3]])
    assert "grip, pose" in read.notes[0]


def test_a_path_is_enough(write):
    dataset = provide(resolve(str(write())))
    assert (dataset.rows, dataset.observation_size, dataset.action_size) == (sum(LENGTHS), 5, 2)


def test_its_environment_is_named_as_not_played(write):
    environment, because = recorded_environment(write())
    assert environment is None
    assert "'Lift'" in because


def test_images_are_refused_with_the_keys_that_are_not(write):
    path = write(images=True)
    with pytest.raises(DatasetError, match="observation_keys=grip,pose"):
        read_d4rl(path)
    with pytest.raises(DatasetError, match="images"):
        read_d4rl(path, Card("", "path", observation_keys=("pose", "view")))
    assert read_d4rl(path, Card("", "path", observation_keys=("pose",))).observation_size == 4


def shorten(data):
    del data["demo_3/rewards"]
    data["demo_3/rewards"] = np.zeros(3)


def miscount(data):
    data["demo_2"].attrs["num_samples"] = 99


def drop(key, demos="demo_"):
    def change(data):
        for name in [name for name in data if name.startswith(demos)]:
            del data[f"{name}/{key}"]

    return change


FAULTS = {
    "rows": (shorten, "'data/demo_3/rewards' .* 3 rows for 13 actions"),
    "counted": (miscount, "99 rows"),
    "no observations": (drop("obs"), "lacks observations.*dataset_states_to_obs"),
    "no rewards": (drop("rewards"), "lacks rewards .*dataset_states_to_obs"),
    "one without actions": (drop("actions", "demo_5"), "demo_5.* lacks actions"),
    "one without dones": (drop("dones", "demo_5"), "demo_5/dones' .* cannot be read"),
    "another key": (lambda data: data.move("demo_4/obs/pose", "demo_4/obs/place"), "lacks pose"),
    "no numbers": (lambda data: data.create_dataset("demo_12/actions", data=[b"x"]), "type"),
}


@pytest.mark.parametrize(("change", "sentence"), FAULTS.values(), ids=FAULTS)
def test_what_cannot_be_read(write, change, sentence):
    with pytest.raises(DatasetError, match=sentence):
        read_d4rl(write(change))
