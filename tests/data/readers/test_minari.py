import dataclasses
import json
import math
import warnings

import gymnasium
import h5py
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple, flatten
from minari import create_dataset_from_buffers
from minari.data_collector import EpisodeBuffer
from minari.serialization import serialize_space

from cqlbench.core.errors import DatasetError
from cqlbench.data import validate
from cqlbench.data.cards import Card
from cqlbench.data.readers.d4rl import read_d4rl
from cqlbench.data.readers.minari import read_minari
from cqlbench.data.readers.minari_folder import scored
from cqlbench.data.readers.minari_metadata import action_bounds, discrete_actions, environment_of
from cqlbench.data.resolve import resolve
from cqlbench.environments.gymnasium_backend import GymnasiumEnvironments
from cqlbench.environments.make import EnvironmentSpec, make_environments

FIELDS = (
    "observations",
    "actions",
    "rewards",
    "next_observations",
    "terminated",
    "truncated",
    "episode_starts",
)

STATES = Box(-np.inf, np.inf, (3,), np.float32)
ACTIONS = Box(-1, 1, (2,), np.float32)


def quiet(test):
    """Without Minari's advice on a dataset that names no environment."""
    for message in ("`eval_env` is set to None", "env_spec is None, no environment spec"):
        test = pytest.mark.filterwarnings(f"ignore:{message}:UserWarning")(test)
    return test


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
    validate.check(transitions)


def test_same_episodes_in_both_schemas_are_identical(tmp_path, make_episodes, write_minari, write_d4rl):
    episodes = make_episodes(("terminated", "truncated", "both", "terminated", "cut"))
    ours = read_minari(write_minari(tmp_path / "m", episodes))
    theirs = read_d4rl(write_d4rl(tmp_path / "d.hdf5", episodes))
    for name in FIELDS:
        left, right = getattr(ours, name), getattr(theirs, name)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    assert (ours.dropped_rows, ours.notes) == (theirs.dropped_rows, theirs.notes)


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


def test_other_storage(tmp_path):
    (tmp_path / "m" / "data").mkdir(parents=True)
    (tmp_path / "m" / "data" / "metadata.json").write_text(json.dumps({"data_format": "zarr"}))
    with pytest.raises(DatasetError, match="stored as 'zarr', which is not supported"):
        read_minari(tmp_path / "m")


@pytest.mark.parametrize(
    "space",
    [
        MultiDiscrete([2, 3]),
        Dict({"a": ACTIONS}),
    ],
)
def test_action_spaces_that_are_not_supported(tmp_path, make_episodes, write_minari, space):
    folder = write_minari(tmp_path / "m", make_episodes())
    (folder / "data" / "metadata.json").write_text(json.dumps({"action_space": serialize_space(space)}))
    with pytest.raises(DatasetError, match="an action space that is neither a Box nor Discrete"):
        read_minari(folder)


def test_dictionaries_of_a_dataset_without_spaces_are_joined_by_name(tmp_path, make_episodes, write_minari):
    (episode,) = make_episodes(["terminated"], [3])
    folder = write_minari(tmp_path / "m", [episode], observations=None)
    goals, states = np.arange(8.0).reshape(4, 2), episode.observations
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        file["episode_0/observations/state"] = states
        file["episode_0/observations/goal"] = goals
    transitions = read_minari(folder)
    np.testing.assert_array_equal(transitions.observations, np.hstack([goals, states])[:-1])
    assert transitions.notes == ("Observations are joined in the order goal [2], state [3].",)


def discrete(write_minari, folder, episodes, space, **replaced):
    """`write_minari` with actions `[T]`, and metadata that say so."""
    numbered = [
        dataclasses.replace(episode, actions=np.arange(len(episode.rewards)) % 3 + space.get("start", 0))
        for episode in episodes
    ]
    write_minari(folder, numbered, **replaced)
    facts = {"total_episodes": len(episodes), "action_space": serialize_space(Discrete(**space))}
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
    assert discrete_actions(folder)
    assert discrete_actions(folder / "data")
    continuous = read_minari(write_minari(tmp_path / "c", episodes))
    np.testing.assert_array_equal(transitions.observations, continuous.observations)
    assert not continuous.discrete_actions
    assert not discrete_actions(tmp_path / "c")
    validate.check(transitions)


@pytest.mark.parametrize(
    ("actions", "sentence"),
    [
        ([0, 1, 2], "is 0 at row 0, but must be one of 1 to 3"),
        ([1, 3, 4], "is 4 at row 2"),
        ([1, 1.5, 2], "is 1.5 at row 1"),
        (np.zeros((3, 2)), r"shape \[3, 2\]"),
    ],
)
def test_numbers_that_are_no_action(tmp_path, make_episodes, write_minari, actions, sentence):
    space = {"n": 3, "start": 1}
    folder = discrete(write_minari, tmp_path / "m", make_episodes(), space, actions=np.asarray(actions))
    with pytest.raises(DatasetError, match=f"'episode_0/actions' of .* {sentence}"):
        read_minari(folder)


@pytest.mark.parametrize(
    ("low", "high", "bounds"),
    [
        ([-2.0, -2.0], [2.0, 2.0], (-2.0, 2.0)),
        ([-2.0, -1.0], [2.0, 2.0], ((-2.0, -1.0), (2.0, 2.0))),
        ([-math.inf] * 2, [math.inf] * 2, None),
    ],
)
def test_action_bounds(tmp_path, make_episodes, write_minari, low, high, bounds):
    folder = write_minari(tmp_path / "m", make_episodes())
    assert action_bounds(folder) is None
    space = Box(np.array(low), np.array(high), dtype=np.float64)
    (folder / "data" / "metadata.json").write_text(json.dumps({"action_space": serialize_space(space)}))
    assert action_bounds(folder) == action_bounds(folder / "data") == bounds
    card = resolve(str(folder)).card
    assert (card.action_low, card.action_high) == (bounds or (-1.0, 1.0))


class Monitor(gymnasium.Wrapper):
    """Watches, as the one of stable_baselines3 does; without the constructor's arguments in its spec."""


Monitor.__module__ = "stable_baselines3.common.monitor"


class Slow(gymnasium.Wrapper):
    """Of the user's own: its arguments are not recorded."""


def clipped(environment):
    return wrappers.ClipReward(environment, -1.0, 1.0)


def rescaled(environment):
    return wrappers.RescaleAction(environment, -2.0, 2.0)


WRAPPED = {
    "nothing": ((), [], ""),
    "rewards and actions": ((clipped, rescaled), ["ClipReward", "RescaleAction"], ""),
    "what only watches": ((wrappers.RecordEpisodeStatistics, Monitor), [], ""),
    "both": ((Monitor, rescaled, Monitor), ["RescaleAction"], ""),
    "without arguments": ((rescaled, Slow), [], "Slow"),
    "with statistics": ((wrappers.NormalizeObservation,), [], "NormalizeObservation"),
}


@pytest.mark.filterwarnings("ignore:.*Box .* precision lowered")
@pytest.mark.parametrize(("layers", "applied", "lost"), WRAPPED.values(), ids=WRAPPED)
def test_wrappers_of_the_recording(tmp_path, make_episodes, write_minari, layers, applied, lost):
    environment = gymnasium.make("Hopper-v5")
    for layer in layers:
        environment = layer(environment)
    recorded, plain = environment.spec.to_json(), gymnasium.make("Hopper-v5").spec.to_json()
    folder = write_minari(tmp_path / "m", make_episodes())
    for facts in ({"env_spec": recorded}, {"env_spec": plain, "eval_env_spec": recorded}):
        (folder / "data" / "metadata.json").write_text(json.dumps(facts))
        for place in (folder, folder / "data"):
            spec, because = environment_of(place)
            assert [wrapper["name"] for wrapper in spec.wrappers] == applied
            assert f"({lost})" in because if lost else not because
    (folder / "data" / "metadata.json").write_text(json.dumps({"env_spec": recorded, "eval_env_spec": plain}))
    assert all(name in environment_of(folder)[1] for name in [*applied, lost])


@pytest.mark.filterwarnings("ignore:.*Box .* precision lowered")
def test_the_environment_is_the_one_that_minari_recovers(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    environment = rescaled(clipped(gymnasium.make("Hopper-v5")))
    episode = EpisodeBuffer(
        id=0,
        observations=np.zeros((2, 11)),
        actions=np.zeros((1, 3), np.float32),
        rewards=np.zeros(1),
        terminations=np.ones(1, bool),
        truncations=np.zeros(1, bool),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # minari would like an author and more
        dataset = create_dataset_from_buffers(
            "lab/hopper-v0", [episode], env=environment, ref_min_score=-3.0, ref_max_score=9
        )
    recovered = dataset.recover_environment()
    spec, _ = environment_of(tmp_path / "lab" / "hopper-v0")
    ours = GymnasiumEnvironments(spec, [5], discrete=False)
    np.testing.assert_array_equal(ours.reset()[0], recovered.reset(seed=5)[0])
    for action in np.random.default_rng(0).uniform(-2, 2, (10, 1, 3)).astype(np.float32):
        step, (observation, reward, *_) = ours.step(action), recovered.step(action[0])
        np.testing.assert_array_equal(step.observations[0], observation)
        assert step.rewards[0] == reward
    card = resolve(str(tmp_path / "lab" / "hopper-v0")).card
    assert (card.action_low, card.score_min, card.score_max) == (-2.0, -3.0, 9.0)


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"ref_min_score": 1.0},
        {"ref_min_score": None, "ref_max_score": 1.0},
        {"ref_min_score": 1.0, "ref_max_score": 1.0},
        {"ref_min_score": "0", "ref_max_score": 1.0},
        {"ref_min_score": 0.0, "ref_max_score": math.inf},
    ],
    ids=str,
)
def test_reference_scores_that_are_none(tmp_path, make_episodes, write_minari, facts):
    folder = write_minari(tmp_path / "m", make_episodes())
    (folder / "data" / "metadata.json").write_text(json.dumps(facts))
    card = Card(id="minari/a/b-v0", source="minari", score_min=-7.0, score_max=7.0)
    assert scored(card, folder) is card


@pytest.mark.filterwarnings("ignore:.*Box .* precision lowered")
def test_wrappers_that_gymnasium_applies_itself(tmp_path, make_episodes, write_minari, monkeypatch):
    known = gymnasium.spec("Hopper-v5")
    scaled = wrappers.RescaleAction(gymnasium.make("Hopper-v5"), -2.0, 2.0).spec
    own = dataclasses.replace(known, id="Scaled-v0", additional_wrappers=scaled.additional_wrappers)
    monkeypatch.setitem(gymnasium.registry, "Scaled-v0", own)
    folder = write_minari(tmp_path / "m", make_episodes())
    for spec, names in ((own, []), (wrappers.ClipAction(gymnasium.make("Scaled-v0")).spec, ["ClipAction"])):
        (folder / "data" / "metadata.json").write_text(json.dumps({"env_spec": spec.to_json()}))
        spec, because = environment_of(folder)
        assert ([wrapper["name"] for wrapper in spec.wrappers], because) == (names, "")


def test_single_numbers_without_a_discrete_space(tmp_path, make_episodes, write_minari):
    folder = write_minari(tmp_path / "m", make_episodes(), actions=np.zeros(3, np.int64))
    with pytest.raises(DatasetError, match=r"'episode_0/actions' .* single numbers, but its metadata.json"):
        read_minari(folder)


BAD = {
    "missing": ({"rewards": None}, "'episode_0' of .* lacks rewards"),
    "as many observations": ({"observations": np.zeros((3, 3))}, "4 rows of 3 numbers"),
    "short rewards": ({"rewards": np.zeros(2)}, "'episode_0/rewards' .* 3 rows of 1"),
    "other size": (
        {"observations": np.zeros((4, 5))},
        "'episode_1/observations' .* rows of 5 numbers",
    ),
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


def test_end_flag_inside_an_episode_is_caught_by_the_validation(tmp_path, make_episodes, write_minari):
    flags = np.array([False, True, False])
    transitions = read_minari(write_minari(tmp_path / "m", make_episodes(), terminations=flags))
    with pytest.raises(DatasetError, match="end is flagged"):
        validate.check(transitions)


def write_with_minari(name, buffers, observation_space, data_format, action_space=ACTIONS):
    create_dataset_from_buffers(
        name,
        buffers,
        observation_space=observation_space,
        action_space=action_space,
        algorithm_name="made up",
        author="cqlbench",
        author_email="none",
        code_permalink="none",
        description="none",
        data_format=data_format,
    )


def buffer_of(index, episode, observations=None):
    return EpisodeBuffer(
        id=index,
        observations=episode.observations if observations is None else observations,
        actions=episode.actions,
        rewards=episode.rewards.tolist(),
        terminations=episode.flags("terminated", "both").tolist(),
        truncations=episode.flags("truncated", "both").tolist(),
    )


@quiet
@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet"])
def test_datasets_written_by_minari_equal_the_d4rl_file(tmp_path, make_episodes, write_d4rl, data_format):
    # 12 of them: by its name, episode 10 stands before episode 2.
    episodes = make_episodes(("terminated", "truncated", "both") * 4)
    buffers = [buffer_of(index, episode) for index, episode in enumerate(episodes)]
    write_with_minari("mujoco/test/tiny-v0", buffers, STATES, data_format)
    theirs = read_minari(tmp_path / "minari" / "mujoco" / "test" / "tiny-v0")
    ours = read_d4rl(write_d4rl(tmp_path / "a.hdf5", episodes))
    np.testing.assert_array_equal(theirs.observations[:3], episodes[0].observations[:-1])
    for name in FIELDS:
        left, right = getattr(theirs, name), getattr(ours, name)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    assert (theirs.dropped_rows, theirs.notes) == (0, ())
    assert theirs.reward_mass == pytest.approx(ours.reward_mass)
    validate.check(theirs)


SPACES = Dict(
    {
        "observation": STATES,
        "goal": Dict({"place": Box(-np.inf, np.inf, (2, 2), np.float64), "kind": Discrete(3, start=5)}),
        "pair": Tuple([MultiDiscrete([2, 3]), MultiBinary(2)]),
    }
)


def observe(states, seed=0):
    """A structured observation for each of `states`, and what gymnasium makes of it."""
    rng = np.random.default_rng(seed)
    rows = []
    for state in states:
        place, chosen = rng.normal(size=(2, 2)), np.int64(rng.integers(5, 8))
        pair = (np.array([rng.integers(2), rng.integers(3)]), rng.integers(0, 2, 2).astype(np.int8))
        rows.append({"observation": state, "goal": {"place": place, "kind": chosen}, "pair": pair})
    stored = {
        "observation": np.stack([row["observation"] for row in rows]),
        "goal": {
            "place": np.stack([row["goal"]["place"] for row in rows]),
            "kind": np.stack([row["goal"]["kind"] for row in rows]),
        },
        "pair": tuple(np.stack([row["pair"][i] for row in rows]) for i in range(2)),
    }
    return stored, np.stack([flatten(SPACES, row) for row in rows]).astype(np.float32), rows


@quiet
@pytest.mark.parametrize("data_format", ["hdf5", "arrow"])
def test_structured_observations_are_flattened_as_gymnasium_does(tmp_path, make_episodes, data_format):
    episodes = make_episodes(("terminated", "truncated"))
    observed = [observe(episode.observations, seed) for seed, episode in enumerate(episodes)]
    buffers = [buffer_of(i, episode, observed[i][0]) for i, episode in enumerate(episodes)]
    write_with_minari("test/nested-v0", buffers, SPACES, data_format)
    folder = tmp_path / "minari" / "test" / "nested-v0"
    transitions = read_minari(folder)
    np.testing.assert_array_equal(
        transitions.observations, np.concatenate([flat[:-1] for _, flat, _ in observed])
    )
    np.testing.assert_array_equal(
        transitions.next_observations, np.concatenate([flat[1:] for _, flat, _ in observed])
    )
    order = "goal/kind [3], goal/place [4], observation [3], pair/0 [5], pair/1 [2]"
    assert transitions.notes == (f"Observations are joined in the order {order}.",)
    validate.check(transitions)

    chosen = read_minari(folder, ("observation", "goal/place"))
    rows = [row for _, _, rows in observed for row in rows[:-1]]
    expected = [np.concatenate([row["observation"], row["goal"]["place"].ravel()]) for row in rows]
    np.testing.assert_array_equal(chosen.observations, np.stack(expected).astype(np.float32))
    assert chosen.notes == ("Observations are joined in the order observation [3], goal/place [4].",)
    with pytest.raises(DatasetError, match=r"has no part 'gaol' \(there: goal, observation, pair\)"):
        read_minari(folder, ("gaol",))


@quiet
@pytest.mark.parametrize("damage", ["cut short", "flipped", "gone", "empty", "other rows"])
def test_damaged_arrow(tmp_path, make_episodes, damage):
    episodes = make_episodes(("terminated", "truncated"))
    buffers = [buffer_of(index, episode) for index, episode in enumerate(episodes)]
    write_with_minari("test/tiny-v0", buffers, STATES, "arrow")
    folder = tmp_path / "minari" / "test" / "tiny-v0"
    (file,) = (folder / "data" / "1").glob("*.arrow")
    content = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "cut short":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[-40:-10] = bytes(byte ^ 0x55 for byte in content[-40:-10])
        file.write_bytes(content)
    else:
        (other,) = (folder / "data" / "0").glob("*.arrow")
        metadata = json.loads((folder / "data" / "metadata.json").read_text())
        metadata["observation_space"] = serialize_space(Box(-9, 9, (4,)))
        (folder / "data" / "metadata.json").write_text(json.dumps(metadata))
        other.write_bytes(content)
    with pytest.raises(DatasetError, match=str(folder / "data")):
        read_minari(folder)


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        (serialize_space(Text(3)), "the space 'Text'"),
        (serialize_space(Box(0, 255, (64, 64, 3), np.uint8)), "holds images"),
        (serialize_space(Dict({})), "has no parts"),
        (serialize_space(Box(-9, 9, (7,))), "'episode_0/observations' .* rows of 7 numbers"),
        *(
            (text, "space .* makes no sense")
            for text in ("{", "[]", "{}", '{"type": "Box"}', '{"type": "Discrete", "n": "x", "start": 0}')
        ),
    ],
)
def test_spaces_that_cannot_be_read(tmp_path, make_episodes, write_minari, space, sentence):
    folder = write_minari(tmp_path / "m", make_episodes())
    (folder / "data" / "metadata.json").write_text(json.dumps({"observation_space": space}))
    with pytest.raises(DatasetError, match=sentence):
        read_minari(folder)


class Wanderer(gymnasium.Env):
    """Observes a dictionary, and goes where it is told."""

    observation_space = Dict(
        {"goal": Box(-9, 9, (2,), np.float64), "mood": Discrete(4), "view": Box(-9, 9, (2, 2), np.float32)}
    )
    action_space = ACTIONS

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.normal(size=2)
        return self.observe(), {}

    def step(self, action):
        self.place = self.place + action
        return self.observe(), float(action[0]), False, False, {}

    def observe(self):
        view = np.outer(self.place, [1, 2]).astype(np.float32)
        return {"goal": self.place, "mood": np.int64(abs(self.place[0]) * 10 % 4), "view": view}


@quiet
@pytest.mark.parametrize("data_format", ["hdf5", "arrow"])
def test_parts_that_are_named_are_joined_as_in_evaluation(tmp_path, monkeypatch, data_format):
    monkeypatch.setitem(
        gymnasium.registry, "Wanderer-v0", EnvSpec("Wanderer-v0", Wanderer, max_episode_steps=6)
    )
    keys = ("view", "mood", "goal")
    spec = EnvironmentSpec("Wanderer-v0", observation_keys=keys)
    environments = make_environments(spec, [3], "gymnasium")
    actions = np.random.default_rng(0).uniform(-1, 1, (6, 2)).astype(np.float32)
    seen = [environments.reset()[0], *(environments.step(action[None]).observations[0] for action in actions)]
    environments.close()

    wanderer = Wanderer()
    rows = [wanderer.reset(seed=3)[0], *(wanderer.step(action)[0] for action in actions)]
    observed = {key: np.stack([row[key] for row in rows]) for key in keys}
    ends = [False] * 5 + [True]
    buffer = EpisodeBuffer(
        id=0,
        observations=observed,
        actions=actions,
        rewards=actions[:, 0].tolist(),
        terminations=[False] * 6,
        truncations=ends,
    )
    write_with_minari("test/wanderer-v0", [buffer], Wanderer.observation_space, data_format)
    transitions = read_minari(tmp_path / "minari" / "test" / "wanderer-v0", keys)
    np.testing.assert_array_equal(transitions.observations, np.float32(seen[:-1]))
    np.testing.assert_array_equal(transitions.next_observations, np.float32(seen[1:]))
