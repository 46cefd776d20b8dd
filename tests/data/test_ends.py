"""End flags that cannot be right are refused, and doubtful ones are noted; good ones pass."""

import gymnasium
import h5py
import numpy as np
import pytest

from cqlbench.core.errors import DatasetError
from cqlbench.data import validate
from cqlbench.data.cards import Card
from cqlbench.data.findings import Expected
from cqlbench.data.load import provide
from cqlbench.data.readers.d4rl import read_d4rl
from cqlbench.data.readers.minari import read_minari
from cqlbench.data.resolve import resolve

NO_NEXT = ("next_observations",)
NO_ENDS = ("next_observations", "timeouts")


def found(transitions, check, expected=None):
    """The finding of one check."""
    return next(finding for finding in validate.examine(transitions, expected) if finding.check == check)


@pytest.fixture
def read(tmp_path, make_episodes, write_d4rl, d4rl_arrays):
    """`read(ends, lengths, ...)` -> the transitions of a file whose flags were changed as asked."""

    def reader(ends, lengths, without=(), quirks=(), **changed):
        episodes = make_episodes(ends, lengths)
        arrays = d4rl_arrays(episodes)
        flags = {key: change(arrays) for key, change in changed.items()}
        return read_d4rl(
            write_d4rl(tmp_path / "a.hdf5", episodes, without=without, **flags),
            Card("", "path", quirks=quirks),
        )

    return reader


LENGTHS = [40, 100, 73, 100, 100, 12, 100, 100, 88, 31]
ENDS = ["truncated" if length == 100 else "terminated" for length in LENGTHS]


@pytest.mark.parametrize("without", [(), NO_NEXT])
def test_good_ends(read, without):
    for limit in (None, 100):
        transitions = read(ENDS, LENGTHS, without)
        for check in ("episode ends", "episode lengths"):
            assert found(transitions, check, Expected(episode_limit=limit)).severity == "ok"


@pytest.mark.parametrize("without", [(), NO_NEXT, NO_ENDS])
def test_inverted_terminals(read, without):
    transitions = read(ENDS, LENGTHS, without, terminals=lambda arrays: ~arrays["terminals"])
    finding = found(transitions, "episode ends")
    assert finding.severity == "error"
    assert "ends=inverted" in finding.message
    with pytest.raises(DatasetError, match="inverted"):
        validate.check(transitions)
    validate.check(transitions, Expected(trusted_ends=True))
    mended = read(
        ENDS, LENGTHS, without, ("terminals_are_inverted",), terminals=lambda arrays: ~arrays["terminals"]
    )
    right = read(ENDS, LENGTHS, without)
    np.testing.assert_array_equal(mended.terminated, right.terminated)
    np.testing.assert_array_equal(mended.episode_starts, right.episode_starts)


@pytest.mark.parametrize("without", [(), NO_NEXT])
def test_inverted_timeouts(read, without):
    transitions = read(ENDS, LENGTHS, without, timeouts=lambda arrays: ~arrays["timeouts"])
    finding = found(transitions, "episode ends")
    assert finding.severity == "error"
    assert "timeouts: null" in finding.message
    assert "ends=inverted" not in finding.message


@pytest.mark.parametrize("without", [(), NO_NEXT])
def test_terminals_everywhere_have_one_remedy(read, without):
    transitions = read(ENDS, LENGTHS, without, terminals=lambda arrays: np.ones_like(arrays["terminals"]))
    (finding,) = [finding for finding in validate.examine(transitions) if "import" in finding.message]
    assert "ends=inverted" in finding.message


def done(arrays):
    return arrays["terminals"] | arrays["timeouts"]


@pytest.mark.parametrize("without", [("timeouts",), NO_ENDS])
@pytest.mark.parametrize("limit", [None, 100])
def test_time_limits_in_terminals(read, without, limit):
    transitions = read(ENDS, LENGTHS, without, terminals=done)
    finding = found(transitions, "episode lengths", Expected(episode_limit=limit))
    assert finding.severity == ("warning" if limit is None else "error")
    assert "ends=time_limits" in finding.message
    mended = read(ENDS, LENGTHS, without, ("time_limits_in_terminals",), terminals=done)
    right = read(ENDS, LENGTHS, set(without) - {"timeouts"})
    for name in ("terminated", "truncated", "episode_starts", "observations"):
        np.testing.assert_array_equal(getattr(mended, name), getattr(right, name))
    assert found(mended, "episode lengths", Expected(episode_limit=limit)).severity == "ok"


@pytest.mark.parametrize("without", [(), NO_NEXT])
def test_time_limits_in_both(read, without):
    finding = found(read(ENDS, LENGTHS, without, terminals=done), "episode lengths")
    assert finding.severity == "error"
    mended = read(ENDS, LENGTHS, without, ("time_limits_in_terminals",), terminals=done)
    np.testing.assert_array_equal(mended.terminated, read(ENDS, LENGTHS, without).terminated)


HONEST = {
    "short random episodes": np.random.default_rng(0).geometric(0.08, 3000) + 5,
    "tasks of few steps": np.full(300, 9),
    "the best are short": np.random.default_rng(1).integers(30, 60, 500),
    "a few that tie": np.array([30, 60, 60, 45, 52, 60, 60]),
    "many lengths": np.arange(20, 80).repeat(6),
}


@pytest.mark.parametrize("lengths", HONEST.values(), ids=HONEST)
def test_episodes_that_end_themselves_are_not_suspected(read, lengths):
    transitions = read(["terminated"] * len(lengths), lengths.tolist())
    assert found(transitions, "episode lengths").severity == "ok"
    assert found(transitions, "episode ends").severity == "ok"


def test_one_step_tasks_are_trusted_if_the_user_says_so(read):
    transitions = read(["terminated"] * 200, [1] * 200)
    assert found(transitions, "episode ends").severity == "error"
    assert found(transitions, "episode ends", Expected(trusted_ends=True)).severity == "ok"


@pytest.fixture
def bare(tmp_path):
    """`bare(environment, rows)` -> a file of random actions, without next observations and without an end."""

    def recorded(environment_id, rows, restart=True):
        environment = gymnasium.make(environment_id)
        environment = environment if restart else environment.unwrapped
        environment.action_space.seed(0)
        observation, _ = environment.reset(seed=0)
        columns = {"observations": [], "actions": [], "rewards": []}
        for _ in range(rows):
            action = environment.action_space.sample()
            columns["observations"].append(observation)
            columns["actions"].append(action)
            observation, reward, terminated, truncated, _ = environment.step(action)
            columns["rewards"].append(float(reward))
            if restart and (terminated or truncated):
                observation, _ = environment.reset()
        environment.close()
        with h5py.File(tmp_path / "a.hdf5", "w") as file:
            for key, values in columns.items():
                file[key] = np.array(values, np.float32)
            file["terminals"] = np.zeros(rows, np.bool_)
        return tmp_path / "a.hdf5"

    return recorded


def test_no_ends_and_restarts(bare):
    """Hopper starts where it started before, so an observation that jumps back there begins an episode."""
    transitions = read_d4rl(bare("Hopper-v4", 600))
    finding = found(transitions, "episode ends")
    assert finding.severity == "error"
    assert finding.count > 10
    assert "columns=" in finding.message


@pytest.mark.parametrize("strays", [[50], [50, 90, 400], [300]])
def test_stray_ends_do_not_hide_missing_ones(bare, strays):
    path = bare("Hopper-v4", 600)
    with h5py.File(path, "a") as file:
        file["terminals"][strays] = True
    finding = found(read_d4rl(path), "episode ends")
    assert finding.severity == "error"
    assert "columns=" in finding.message
    assert finding.rows[0] < 600


@pytest.mark.parametrize("environment", ["Pendulum-v1", "HalfCheetah-v4", "Ant-v4"])
def test_no_ends_because_the_task_goes_on(bare, environment):
    short = read_d4rl(bare(environment, 500, restart=False))
    assert found(short, "episode ends").severity == "ok"
    transitions = read_d4rl(bare(environment, 1500, restart=False))
    assert found(transitions, "episode ends").severity == "warning"
    assert found(transitions, "episode ends", Expected(episode_limit=1000)).severity == "error"
    assert found(transitions, "episode ends", Expected(episode_limit=1500)).severity == "warning"
    assert found(transitions, "episode ends", Expected(trusted_ends=True)).severity == "ok"


def test_episodes_of_minari_without_flags(tmp_path, make_episodes, write_minari):
    folder = write_minari(tmp_path / "m", make_episodes(["cut"] * 12, [100] * 12))
    assert found(read_minari(folder), "episode ends").severity == "ok"
    one = write_minari(tmp_path / "n", make_episodes(["cut"], [1200]))
    assert found(read_minari(one), "episode ends").severity == "warning"


def test_a_run_refuses_or_notes(tmp_path, make_episodes, write_d4rl, d4rl_arrays):
    episodes = make_episodes(ENDS, LENGTHS)
    arrays = d4rl_arrays(episodes)
    path = write_d4rl(tmp_path / "a.hdf5", episodes, terminals=~arrays["terminals"])
    with pytest.raises(DatasetError, match="inverted"):
        provide(resolve(str(path)))
    path = write_d4rl(tmp_path / "b.hdf5", episodes, terminals=done(arrays), without=("timeouts",))
    assert any("ends=time_limits" in note for note in provide(resolve(str(path))).notes)


def test_episodes_longer_than_the_limit(tmp_path, make_episodes, write_d4rl):
    transitions = read_d4rl(write_d4rl(tmp_path / "a.hdf5", make_episodes()))
    finding = found(transitions, "episode lengths", Expected(episode_limit=4))
    assert (finding.severity, finding.rows) == ("warning", (7,))
    assert "the longest has 5" in finding.message
    assert found(transitions, "episode lengths", Expected(episode_limit=5)).severity == "ok"


def test_time_limits_flagged_as_terminations(tmp_path, make_episodes, write_d4rl):
    episodes = make_episodes(["terminated"] * 3, [5, 5, 4])
    transitions = read_d4rl(write_d4rl(tmp_path / "a.hdf5", episodes))
    finding = found(transitions, "episode lengths", Expected(episode_limit=5))
    assert (finding.severity, finding.rows) == ("warning", (4, 9))
    assert "truncated" in finding.message


def test_time_limits_whose_rows_were_dropped(tmp_path, make_episodes, write_d4rl):
    episodes = make_episodes(["terminated", "truncated", "terminated", "terminated"], [5, 5, 5, 2])
    path = write_d4rl(tmp_path / "a.hdf5", episodes, without=("next_observations",))
    transitions = read_d4rl(path)
    assert transitions.episode_lengths.tolist() == [5, 4, 5, 2]
    assert found(transitions, "episode lengths", Expected(episode_limit=5)).severity == "ok"
    everywhere = read_d4rl(write_d4rl(tmp_path / "b.hdf5", [episodes[0]] * 3, without=("next_observations",)))
    assert found(everywhere, "episode lengths", Expected(episode_limit=5)).severity == "warning"
