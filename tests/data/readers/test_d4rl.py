import contextlib

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cqlbench.core.errors import DatasetError
from cqlbench.data import validate
from cqlbench.data.cards import Card
from cqlbench.data.readers.d4rl import read_d4rl

LIMIT = Card("", "path", max_episode_steps=5)
TABLES = ("observations", "next_observations", "actions", "rewards")


def assert_rows(transitions, arrays, rows):
    np.testing.assert_array_equal(transitions.observations, arrays["observations"][rows])
    np.testing.assert_array_equal(transitions.actions, arrays["actions"][rows])
    np.testing.assert_array_equal(transitions.rewards, arrays["rewards"][rows])
    np.testing.assert_array_equal(transitions.terminated, arrays["terminals"][rows])
    np.testing.assert_array_equal(transitions.truncated, arrays["timeouts"][rows])


def test_with_next_observations_every_row_is_kept(tmp_path, make_episodes, write_d4rl, d4rl_arrays):
    episodes = make_episodes(("terminated", "truncated", "both", "cut"), [3, 4, 2, 5])
    transitions = read_d4rl(write_d4rl(tmp_path / "a.hdf5", episodes))
    arrays = d4rl_arrays(episodes)
    assert_rows(transitions, arrays, slice(None))
    np.testing.assert_array_equal(transitions.next_observations, arrays["next_observations"])
    assert transitions.episode_starts.tolist() == [0, 3, 7, 9]
    assert transitions.dropped_rows == 0
    assert transitions.notes == ()
    validate.check(transitions)


def test_without_next_observations_unknown_ones_are_dropped(tmp_path, make_episodes, write_d4rl, d4rl_arrays):
    episodes = make_episodes(("terminated", "truncated", "both", "cut"), [3, 4, 2, 5])
    transitions = read_d4rl(write_d4rl(tmp_path / "a.hdf5", episodes, without=("next_observations",)))
    arrays = d4rl_arrays(episodes)
    kept = [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12]  # not 6 (time limit) and not 13 (last of the file)
    assert_rows(transitions, arrays, kept)
    expected = arrays["next_observations"].copy()
    expected[[2, 8]] = arrays["observations"][[2, 8]]  # terminal rows repeat their own
    np.testing.assert_array_equal(transitions.next_observations, expected[kept])
    assert transitions.episode_starts.tolist() == [0, 3, 6, 8]
    assert transitions.dropped_rows == 2
    assert len(transitions.notes) == 2
    validate.check(transitions)


def test_one_row_time_limit_episode_leaves_no_empty_episode(tmp_path, make_episodes, write_d4rl):
    episodes = make_episodes(("truncated", "truncated", "terminated"), [3, 1, 2])
    transitions = read_d4rl(write_d4rl(tmp_path / "a.hdf5", episodes, without=("next_observations",)))
    assert transitions.episode_starts.tolist() == [0, 2]
    assert transitions.episode_lengths.tolist() == [2, 2]
    assert transitions.dropped_rows == 2


def test_last_terminal_row_is_kept_without_next_observations(
    tmp_path, make_episodes, write_d4rl, d4rl_arrays
):
    episodes = make_episodes(("terminated",), [4])
    transitions = read_d4rl(write_d4rl(tmp_path / "a.hdf5", episodes, without=("next_observations",)))
    assert_rows(transitions, d4rl_arrays(episodes), slice(None))
    assert transitions.dropped_rows == 0


def test_without_timeouts_only_terminals_end_episodes(tmp_path, make_episodes, write_d4rl):
    episodes = make_episodes(("terminated", "terminated", "cut"))
    transitions = read_d4rl(write_d4rl(tmp_path / "a.hdf5", episodes, without=("timeouts",)))
    assert not transitions.truncated.any()
    assert transitions.episode_starts.tolist() == [0, 3, 7]
    assert "timeouts" in transitions.notes[0]


def test_rare_unflagged_cuts_start_episodes_and_are_noted(tmp_path, make_episodes, write_d4rl):
    episodes = make_episodes(("cut", "terminated"), [150, 150])
    transitions = read_d4rl(write_d4rl(tmp_path / "a.hdf5", episodes))
    assert transitions.episode_starts.tolist() == [0, 150]
    assert not transitions.truncated.any()
    assert "first row 149" in transitions.notes[0]
    validate.check(transitions)


def test_rows_in_disorder_are_left_to_the_validation(tmp_path, make_episodes, write_d4rl, d4rl_arrays):
    episodes = make_episodes(("terminated",), [40])
    shifted = np.roll(d4rl_arrays(episodes)["next_observations"], 1, axis=0)
    transitions = read_d4rl(write_d4rl(tmp_path / "a.hdf5", episodes, next_observations=shifted))
    with pytest.raises(DatasetError, match="At row 0"):
        validate.check(transitions)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_any_float_type(tmp_path, make_episodes, write_d4rl, d4rl_arrays, dtype):
    episodes = make_episodes()
    arrays = {key: d4rl_arrays(episodes)[key].astype(dtype) for key in TABLES}
    transitions = read_d4rl(write_d4rl(tmp_path / "a.hdf5", episodes, **arrays))
    np.testing.assert_array_equal(transitions.observations, arrays["observations"].astype(np.float32))
    assert transitions.rewards.dtype == np.float32


def test_replay_files_columns(tmp_path, make_episodes, write_d4rl, d4rl_arrays):
    episodes = make_episodes()
    arrays = d4rl_arrays(episodes)
    columns = {"rewards": arrays["rewards"][:, None].astype(np.float64)}
    columns |= {key: arrays[key][:, None].astype(np.uint8) for key in ("terminals", "timeouts")}
    transitions = read_d4rl(write_d4rl(tmp_path / "a.hdf5", episodes, **columns))
    assert_rows(transitions, arrays, slice(None))


@settings(deadline=None, max_examples=40)
@given(
    ends=st.lists(st.sampled_from(["terminated", "truncated", "both"]), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
)
def test_dropping_loses_only_time_limit_rows(tmp_path_factory, ends, seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 5, len(ends))
    terminals = np.zeros(lengths.sum(), np.bool_)
    timeouts = np.zeros_like(terminals)
    last = np.cumsum(lengths) - 1
    terminals[last] = [end != "truncated" for end in ends]
    timeouts[last] = [end != "terminated" for end in ends]
    path = tmp_path_factory.mktemp("d4rl") / "a.hdf5"
    observations = rng.normal(size=(len(terminals), 2)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file["observations"] = observations
        file["actions"] = np.zeros((len(terminals), 1))
        file["rewards"] = np.arange(len(terminals), dtype=np.float32)
        file["terminals"] = terminals
        file["timeouts"] = timeouts
    kept = ~timeouts | terminals
    if not kept.any():
        with pytest.raises(DatasetError, match="no transitions"):
            read_d4rl(path)
        return
    transitions = read_d4rl(path)
    np.testing.assert_array_equal(transitions.rewards, np.flatnonzero(kept))
    assert transitions.dropped_rows == (~kept).sum()
    going_on = ~transitions.terminated
    np.testing.assert_array_equal(
        transitions.next_observations[going_on], observations[np.flatnonzero(kept)[going_on] + 1]
    )
    validate.check(transitions)


def test_missing_file(tmp_path):
    with pytest.raises(DatasetError, match="There is no file"):
        read_d4rl(tmp_path / "none.hdf5")


def test_folder(tmp_path):
    with pytest.raises(DatasetError, match="folder"):
        read_d4rl(tmp_path)


def test_not_hdf5(tmp_path):
    (tmp_path / "a.hdf5").write_bytes(b"<html>404</html>")
    with pytest.raises(DatasetError, match="signature"):
        read_d4rl(tmp_path / "a.hdf5")


def test_truncated_file(tmp_path, make_episodes, write_d4rl):
    path = write_d4rl(tmp_path / "a.hdf5", make_episodes())
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DatasetError, match="cut short"):
        read_d4rl(path)


def test_damaged_bytes_never_raise_anything_else(tmp_path, make_episodes, write_d4rl):
    path = write_d4rl(tmp_path / "a.hdf5", make_episodes())
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(whole)
        for position in rng.integers(0, len(whole), 24):
            damaged[position] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        with contextlib.suppress(DatasetError):
            read_d4rl(path)


def test_missing_keys_are_listed_with_what_is_there(tmp_path, make_episodes, write_d4rl):
    path = write_d4rl(tmp_path / "a.hdf5", make_episodes(), without=("rewards", "terminals"))
    with pytest.raises(DatasetError, match=r"lacks rewards, terminals \(it has: actions, infos, metadata"):
        read_d4rl(path)


def test_minari_file_is_recognised(tmp_path, make_episodes, write_minari):
    folder = write_minari(tmp_path / "m", make_episodes())
    with pytest.raises(DatasetError, match="Minari"):
        read_d4rl(folder / "data" / "main_data.hdf5")


BAD = {
    "length mismatch": (
        {"rewards": np.zeros(3, np.float32)},
        r"'rewards' of .* \[3\], but 'observations' has \[12, 3\]",
    ),
    "flat observations": ({"observations": np.zeros(12)}, r"'observations' .* shape \[12\]"),
    "three-dimensional actions": ({"actions": np.zeros((12, 2, 2))}, r"'actions' .* shape \[12, 2, 2\]"),
    "wide rewards": ({"rewards": np.zeros((12, 2))}, r"'rewards' .* shape \[12, 2\]"),
    "other next observations": (
        {"next_observations": np.zeros((12, 4))},
        r"'next_observations' .* \[12, 4\]",
    ),
    "strings": ({"actions": np.full((12, 2), b"x")}, r"'actions' .* type \|S1"),
    "complex": ({"rewards": np.zeros(12, np.complex64)}, "'rewards' .* type"),
    "scalar": ({"rewards": np.float32(0)}, "'rewards' .* single value"),
    "bool observations": ({"observations": np.zeros((12, 3), np.bool_)}, "'observations' .* true/false"),
    "float64 too large": ({"rewards": np.full(12, 1e300)}, "'rewards' .* first at row 0"),
    "half a flag": ({"terminals": np.full(12, 0.5)}, "'terminals' .* row 0 is 0.5"),
    "nan flag": ({"timeouts": np.full(12, np.nan)}, "'timeouts' .* row 0 is nan"),
}


@pytest.mark.parametrize(("replaced", "sentence"), BAD.values(), ids=BAD)
def test_bad_array(tmp_path, make_episodes, write_d4rl, replaced, sentence):
    path = write_d4rl(tmp_path / "a.hdf5", make_episodes(), **replaced)
    with pytest.raises(DatasetError, match=sentence) as caught:
        read_d4rl(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("key", TABLES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(tmp_path, make_episodes, write_d4rl, d4rl_arrays, key, value):
    episodes = make_episodes()
    array = d4rl_arrays(episodes)[key]
    array[7:9] = value
    with pytest.raises(DatasetError, match=f"'{key}' .* first at row 7"):
        read_d4rl(write_d4rl(tmp_path / "a.hdf5", episodes, **{key: array}))


def test_no_rows(tmp_path, make_episodes, write_d4rl, d4rl_arrays):
    empty = {key: value[:0] for key, value in d4rl_arrays(make_episodes()).items()}
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        for key, value in empty.items():
            file[key] = value
    with pytest.raises(DatasetError, match="no transitions"):
        read_d4rl(tmp_path / "a.hdf5")


def test_key_is_a_group(tmp_path, make_episodes, write_d4rl):
    path = write_d4rl(tmp_path / "a.hdf5", make_episodes(), without=("rewards",))
    with h5py.File(path, "a") as file:
        file.create_group("rewards")
    with pytest.raises(DatasetError, match=r"'rewards' of .* is a group"):
        read_d4rl(path)


def test_dangling_link(tmp_path, make_episodes, write_d4rl):
    path = write_d4rl(tmp_path / "a.hdf5", make_episodes(), without=("rewards",))
    with h5py.File(path, "a") as file:
        file["rewards"] = h5py.ExternalLink("elsewhere.hdf5", "rewards")
    with pytest.raises(DatasetError, match=r"'rewards' of .* cannot be read"):
        read_d4rl(path)


def test_empty_dataspace(tmp_path, make_episodes, write_d4rl):
    path = write_d4rl(tmp_path / "a.hdf5", make_episodes(), without=("rewards",))
    with h5py.File(path, "a") as file:
        file["rewards"] = h5py.Empty("f4")
    with pytest.raises(DatasetError, match=r"'rewards' .* single value"):
        read_d4rl(path)


def test_impossible_size(tmp_path, make_episodes, write_d4rl):
    path = write_d4rl(tmp_path / "a.hdf5", make_episodes(), without=("observations",))
    with h5py.File(path, "a") as file:
        file.create_dataset("observations", shape=(12, 1 << 50), dtype="f4", chunks=(1, 1024))
    with pytest.raises(DatasetError, match=r"'observations' .* but only 0 bytes are there"):
        read_d4rl(path)


def test_without_flags_and_next_observations_time_limits_are_counted(tmp_path, make_episodes, write_d4rl):
    """D4RL's own rule for old files: an episode of the limit's length was cut by it."""
    episodes = make_episodes(("truncated", "terminated", "truncated", "truncated"), [5, 3, 5, 5])
    path = write_d4rl(tmp_path / "a.hdf5", episodes, without=("timeouts", "next_observations"))
    transitions = read_d4rl(path, LIMIT)
    flagged = write_d4rl(tmp_path / "b.hdf5", episodes, without=("next_observations",))
    expected = read_d4rl(flagged, LIMIT)
    for name in ("observations", "next_observations", "rewards", "terminated", "episode_starts"):
        np.testing.assert_array_equal(getattr(transitions, name), getattr(expected, name))
    assert "3 ends were found by counting 5 steps" in transitions.notes[0]
    assert not any("counting" in note for note in expected.notes)


def test_flags_in_the_file_win_over_the_limit(tmp_path, make_episodes, write_d4rl):
    transitions = read_d4rl(write_d4rl(tmp_path / "a.hdf5", make_episodes(("cut",), [12])), LIMIT)
    assert transitions.episode_starts.tolist() == [0]


def test_without_timeouts_ends_are_found_by_next_observations(tmp_path, make_episodes, write_d4rl):
    episodes = make_episodes(("truncated", "terminated", "truncated"), [12, 8, 10])
    transitions = read_d4rl(write_d4rl(tmp_path / "a.hdf5", episodes, without=("timeouts",)))
    assert transitions.episode_starts.tolist() == [0, 12, 20]
    assert np.flatnonzero(transitions.truncated).tolist() == [11]
    assert "1 ends were found where a next observation" in transitions.notes[0]
    validate.check(transitions)


def test_no_reward_is_lost_on_the_way(tmp_path, make_episodes, write_d4rl, d4rl_arrays):
    episodes = make_episodes(("terminated", "truncated", "both", "cut"), [3, 4, 2, 5])
    rewards = d4rl_arrays(episodes)["rewards"]
    transitions = read_d4rl(write_d4rl(tmp_path / "a.hdf5", episodes, without=("next_observations",)))
    assert transitions.reward_mass == pytest.approx(np.abs(rewards).sum())
    lost = np.abs(rewards[[6, 13]]).sum()
    assert np.abs(transitions.rewards).sum() == pytest.approx(transitions.reward_mass - lost, rel=1e-5)
