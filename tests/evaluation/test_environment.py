import json
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from msgspec.structs import replace

from cqlbench.data.cards import Card
from cqlbench.data.resolve import find_card
from cqlbench.environments.make import (
    EnvironmentSpec,
    choose_backend,
    environment_versions,
    make_environments,
)
from cqlbench.evaluation.environment import playable, recorded_environment

DATA = SimpleNamespace(observation_size=11, action_size=3, discrete_actions=False)
CARD = Card(id="minari/a/b-v0", source="minari", environment=EnvironmentSpec("Hopper-v5", 100))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    (tmp_path / "a" / "b-v0" / "data").mkdir(parents=True)
    return tmp_path / "a" / "b-v0"


def write(folder, **specs):
    metadata = {key: json.dumps(spec) for key, spec in specs.items()}
    (folder / "data" / "metadata.json").write_text(json.dumps(metadata))


def test_the_cards_environment_if_it_can_be_made():
    assert playable(CARD, DATA) == (CARD.environment, "")


def test_a_dataset_without_one_says_why():
    bare = replace(CARD, environment=None)
    assert playable(bare, DATA) == (None, "Not evaluated: the dataset's card names no environment.")
    reasoned = replace(bare, environment_missing_because="nobody kept the robot")
    assert playable(reasoned, DATA) == (None, "Not evaluated: nobody kept the robot.")
    _, because = playable(Card(id="my/robot-v0", source="imported"), DATA)
    assert "cqlbench data import FILE id=my/robot-v0 env=" in because


def test_one_that_cannot_be_made_names_the_extra_that_brings_it():
    missing = EnvironmentSpec("Arm-v0", module="no_such_arms", extra="robotics")
    spec, because = playable(replace(CARD, environment=missing), DATA)
    assert spec is None
    assert because.startswith(
        "Not evaluated: Environment 'Arm-v0' cannot be made here (No module named 'no_such_arms')"
    )
    assert because.endswith("install what it needs with `pip install 'cqlbench[robotics]'`.")


@pytest.mark.parametrize("version", [0, 1, 2])
def test_the_data_decide_whether_padding_is_zero(version):
    card = find_card(f"d4rl/ant-medium-v{version}")
    zeros = np.append(np.ones(27), np.zeros(84))
    moving = np.append(np.ones(110), 1e-9)
    data = SimpleNamespace(
        observation_size=111, action_size=8, discrete_actions=False, observation_mean=zeros
    )
    data.observation_std = zeros
    padded, because = playable(card, data)
    assert (padded.padding, dict(padded.kwargs), because) == (84, {}, "")
    data.observation_std = moving
    spec, because = playable(card, data)
    assert not because
    assert (spec.id, spec.padding) == ("Ant-v4", 84 if version == 2 else 0)
    assert dict(spec.kwargs) == ({} if version == 2 else {"use_contact_forces": True})
    environments = make_environments(spec, [0])
    assert environments.observation_size == 111
    environments.close()


def test_one_of_other_sizes_is_not_played():
    _, because = playable(CARD, SimpleNamespace(observation_size=111, action_size=8, discrete_actions=False))
    assert because == (
        "Not evaluated: Environment 'Hopper-v5' gives 11 observations and takes 3 actions, but the data have "
        "111 and 8."
    )


def test_one_that_does_not_take_the_data_s_actions_is_not_played():
    wide = replace(CARD, action_low=-1.0, action_high=(1.0, 1.0, 90.0))
    spec, because = playable(wide, DATA)
    assert spec is None
    assert "90.0" in because
    narrow = replace(CARD, action_low=-0.5, action_high=(0.5, 1.0, 1.0))
    assert playable(narrow, DATA)[0] is not None


def test_a_minari_dataset_brings_its_environment(folder):
    write(
        folder,
        env_spec={"id": "Walker2d-v5", "max_episode_steps": 7, "kwargs": {}},
        eval_env_spec={
            "id": "Hopper-v5",
            "max_episode_steps": 1e6,
            "kwargs": {"reset_noise_scale": 0.0, "render_mode": "human"},
        },
    )
    spec, because = playable(CARD, DATA)
    assert not because
    assert spec == EnvironmentSpec(
        "Hopper-v5", 100, {"reset_noise_scale": 0.0}
    )  # the limit is the endpoints'


def test_its_own_limit_holds_where_the_card_has_none(folder):
    known = EnvironmentSpec("A-v0", module="m", extra="e", observation_keys=("x",))
    write(folder, env_spec={"id": "A-v1", "max_episode_steps": 300.0, "kwargs": {"maze_map": [[1, "r"]]}})
    found = replace(known, id="A-v1", max_episode_steps=300, kwargs={"maze_map": [[1, "r"]]})
    assert recorded_environment(folder, known) == (found, "")
    write(folder, env_spec={"id": "A-v1", "max_episode_steps": None, "kwargs": None})
    assert recorded_environment(folder, known) == (replace(known, id="A-v1"), "")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"env_spec": 3}', '{"env_spec": "[]"}', '{"env_spec": "{}"}']
)
def test_what_cannot_be_read_changes_nothing(folder, text):
    (folder / "data" / "metadata.json").write_text(text)
    assert recorded_environment(folder, CARD.environment) == (CARD.environment, "")


def test_recorded_wrappers_are_applied(folder):
    half = {"name": "RescaleAction", "entry_point": "gymnasium.wrappers:RescaleAction"}
    half["kwargs"] = {"min_action": -2.0, "max_action": 2.0}
    write(folder, env_spec={"id": "Hopper-v5", "additional_wrappers": [half]})
    spec, because = playable(replace(CARD, action_low=-2.0, action_high=2.0), DATA)
    assert not because
    assert spec.wrappers == (half,)
    plain = replace(spec, wrappers=())
    halved, full = (make_environments(each, [7], "gymnasium") for each in (spec, plain))
    assert choose_backend(spec) == "gymnasium"
    assert halved.action_high.tolist() == [2.0] * 3
    np.testing.assert_array_equal(halved.reset(), full.reset())
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 1, 3)).astype(np.float32)
    for action in actions:
        np.testing.assert_allclose(halved.step(2 * action).observations, full.step(action).observations)
    state = halved.state()
    after = halved.step(actions[0])
    halved.set_state(state)
    np.testing.assert_array_equal(halved.step(actions[0]).observations, after.observations)
    assert "RescaleAction" in environment_versions(spec, "gymnasium")["wrappers"]


@pytest.mark.parametrize("seen", ["optimal", "optimal-fullobs"])
def test_babyai_is_seen_as_recorded(folder, tmp_path, seen):
    card = find_card(f"minari/minigrid/BabyAI-GoToObjS4/{seen}-v0")
    minigrid = pytest.importorskip("minigrid.wrappers")
    environment = gymnasium.make("BabyAI-GoToObjS4-v0")
    size = 7
    if "fullobs" in seen:
        environment, size = minigrid.FullyObsWrapper(environment), 4
    (tmp_path / card.name / "data").mkdir(parents=True)
    # As the published ones: minigrid's wrappers do not record that they take no arguments.
    text = environment.spec.to_json().replace('"kwargs": null', '"kwargs": {}')
    write(tmp_path / card.name, env_spec=json.loads(text))
    data = SimpleNamespace(observation_size=1 + size * size * 3, action_size=7, discrete_actions=True)
    spec, because = playable(card, data)
    assert not because
    assert replace(spec, kwargs={}) == card.environment


def test_a_minari_dataset_whose_wrappers_cannot_be_applied_is_not_played(folder):
    wrapped = {
        "id": "Hopper-v5",
        "additional_wrappers": [{"name": "Slow", "entry_point": "lab:Slow", "kwargs": {}}],
    }
    write(folder, env_spec=wrapped)
    spec, because = playable(CARD, DATA)
    assert spec is None
    assert because.startswith("Not evaluated: ")
    assert "Slow" in because
    watched = {"name": "Monitor", "entry_point": "stable_baselines3.common.monitor:Monitor", "kwargs": None}
    write(folder, env_spec=wrapped | {"additional_wrappers": [watched]})
    assert playable(CARD, DATA)[0] is not None


def test_other_sources_do_not_look_for_a_folder(folder):
    write(folder, env_spec={"id": "Walker2d-v5"})
    assert playable(replace(CARD, id="d4rl/a/b-v0", source="d4rl"), DATA) == (CARD.environment, "")
