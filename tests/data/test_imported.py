import json

import gymnasium
import numpy as np
import pytest
from msgspec.structs import replace

from cqlbench.core.errors import DatasetError, UserError
from cqlbench.data.cards import Card, all_cards, damaged_cards, imported_cards_dir
from cqlbench.data.imported import card_text, import_dataset, recorded_environment
from cqlbench.data.local import published_key
from cqlbench.data.resolve import find_card
from cqlbench.environments.make import EnvironmentSpec
from cqlbench.evaluation.environment import playable

CARD = Card(
    id="lab/arm/reach-v3",
    source="imported",
    short_name="arm/reach",
    environment=EnvironmentSpec(
        "Hopper-v4",
        40,
        {"name": 'a "b" \\ é', "deep": {"x": [1, 2.5]}, "flag": True, "range": [0.7, float("inf")]},
        observation_keys=("a", "b/c"),
    ),
    max_episode_steps=40,
    score_min=-1.5,
    score_max=3e10,
    endpoints_source="given",
    quirks=("action_clip",),
    observation_keys=("a", "b/c"),
    rows=7,
    mean_return=1e-7,
    imported_from='/tmp/Ünïcode\'s "file".hdf5',
)


def test_a_card_is_read_as_it_was_written():
    imported_cards_dir().mkdir(parents=True)
    (imported_cards_dir() / "x.toml").write_text(card_text(CARD), encoding="utf-8")
    assert all_cards()[CARD.id] == CARD
    bare = replace(CARD, environment=None)  # its time limit finds the ends of a file without flags
    (imported_cards_dir() / "x.toml").write_text(card_text(bare), encoding="utf-8")
    assert all_cards()[CARD.id] == bare


def test_what_is_refused_leaves_nothing(tmp_path, make_episodes, write_d4rl, d4rl_arrays):
    episodes = make_episodes(["truncated"] * 2, [100, 100])
    actions = d4rl_arrays(episodes)["actions"]
    actions[3] = 9
    path = write_d4rl(tmp_path / "a.hdf5", episodes, actions=actions)
    with pytest.raises(DatasetError, match="outside the bounds"):
        import_dataset(path, Card(id="my/robot-v0", source="imported"))
    assert not imported_cards_dir().exists()
    import_dataset(path, Card(id="my/robot-v0", source="imported", quirks=("action_clip",)))
    assert find_card("my/robot-v0").quirks == ("action_clip",)


def test_an_id_of_a_published_dataset(tmp_path, make_episodes, write_d4rl, monkeypatch):
    path = write_d4rl(tmp_path / "a.hdf5", make_episodes())
    taken = Card(id="my/robot-v0", source="d4rl")
    monkeypatch.setattr("cqlbench.data.imported.all_cards", lambda: {taken.id: taken})
    with pytest.raises(DatasetError, match="is a published dataset's id"):
        import_dataset(path, replace(taken, source="imported"))


def test_the_environment_that_minari_recorded(tmp_path, make_episodes, write_minari):
    folder = write_minari(tmp_path / "m", make_episodes())
    assert recorded_environment(folder)[0] is None
    spec = {"id": "Hopper-v5", "max_episode_steps": 1000, "kwargs": {"ctrl_cost_weight": 1.0}}
    (folder / "data" / "metadata.json").write_text(json.dumps({"env_spec": json.dumps(spec)}))
    assert recorded_environment(folder) == (EnvironmentSpec("Hopper-v5", 1000, {"ctrl_cost_weight": 1.0}), "")
    assert recorded_environment(tmp_path / "none") == (None, "No environment was named.")
    (folder / "data" / "metadata.json").write_text(json.dumps({"env_spec": json.dumps({"id": "Robot-v9"})}))
    assert recorded_environment(folder)[0] is None


def test_the_data_folder_of_minari_and_its_viewer(tmp_path, make_episodes, write_minari):
    folder = write_minari(tmp_path / "m", make_episodes())
    spec = {"id": "Hopper-v5", "kwargs": {"render_mode": "human"}}
    (folder / "data" / "metadata.json").write_text(json.dumps({"env_spec": json.dumps(spec)}))
    assert recorded_environment(folder / "data") == (EnvironmentSpec("Hopper-v5"), "")


def test_discrete_actions_have_their_environment(tmp_path, make_episodes, write_minari):
    episodes = make_episodes(["terminated"], [4], observation_size=4, action_size=1)
    folder = write_minari(tmp_path / "m", episodes, actions=np.array([0, 1, 1, 0]))
    facts = {
        "action_space": json.dumps({"type": "Discrete", "n": 2, "start": 0}),
        "env_spec": json.dumps({"id": "CartPole-v1", "max_episode_steps": 500}),
    }
    (folder / "data" / "metadata.json").write_text(json.dumps(facts))
    environment, _ = recorded_environment(folder)
    assert environment == EnvironmentSpec("CartPole-v1", 500)
    import_dataset(folder, Card(id="my/cart-v0", source="imported", environment=environment))
    card = find_card("my/cart-v0")
    assert (card.environment, card.preset) == (environment, "discrete")


def half_as_far():
    """Hopper whose second joint takes half of the first one's torque and the third three quarters."""
    high = np.float32([1, 0.5, 0.75])
    return gymnasium.wrappers.RescaleAction(gymnasium.make("Hopper-v4"), -high, high)


def test_bounds_that_differ_between_dimensions(tmp_path, make_episodes, write_d4rl, d4rl_arrays):
    gymnasium.register("Half-v0", half_as_far, max_episode_steps=20)
    episodes = make_episodes(["truncated"] * 5, [20] * 5, observation_size=11, action_size=3)
    card = Card(id="my/robot-v0", source="imported", environment=EnvironmentSpec("Half-v0"))
    with pytest.raises(DatasetError, match="outside the bounds"):
        import_dataset(write_d4rl(tmp_path / "a.hdf5", episodes), card)
    actions = d4rl_arrays(episodes)["actions"] * np.float32([1, 0.5, 0.75])
    dataset = import_dataset(write_d4rl(tmp_path / "b.hdf5", episodes, actions=actions), card)
    kept = find_card("my/robot-v0")
    assert (kept.action_low, kept.action_high) == ((-1, -0.5, -0.75), (1, 0.5, 0.75))
    assert playable(kept, dataset)[0] == kept.environment


def test_an_environment_without_bounds_needs_them_stated(tmp_path, make_episodes, write_d4rl):
    gymnasium.register(
        "Endless-v0",
        lambda: gymnasium.wrappers.TransformAction(
            gymnasium.make("Hopper-v4"), np.tanh, gymnasium.spaces.Box(-np.inf, np.inf, (3,))
        ),
        max_episode_steps=20,
    )
    path = write_d4rl(tmp_path / "a.hdf5", make_episodes(observation_size=11, action_size=3))
    card = Card(id="my/robot-v0", source="imported", environment=EnvironmentSpec("Endless-v0"))
    with pytest.raises(UserError, match="action_low="):
        import_dataset(path, card)
    import_dataset(path, card, (-3.0, 3.0))
    assert find_card("my/robot-v0").action_high == 3.0


def test_what_was_stated_is_not_changed(tmp_path, make_episodes, write_d4rl):
    path = write_d4rl(tmp_path / "a.hdf5", make_episodes())
    card = Card(id="my/robot-v0", source="imported")
    import_dataset(path, card)
    scored = replace(card, score_min=0.0, score_max=1.0)
    import_dataset(path, scored)
    with pytest.raises(DatasetError, match="score_max="):
        import_dataset(path, replace(scored, score_max=2.0))
    assert find_card(card.id).score_max == 1.0


def test_equal_bounds_are_no_change(tmp_path, make_episodes, write_d4rl):
    path = write_d4rl(tmp_path / "a.hdf5", make_episodes())
    card = Card(id="my/robot-v0", source="imported")
    import_dataset(path, card, (-90.0, 90.0))
    import_dataset(path, card, ((-90.0, -90.0), 90.0))
    with pytest.raises(DatasetError, match="action_high="):
        import_dataset(path, card, (-90.0, (90.0, 80.0)))


@pytest.mark.parametrize(
    "kinds", [("discrete", "continuous"), ("continuous", "discrete"), ("", "continuous")]
)
def test_the_kind_of_actions_is_not_changed(tmp_path, make_episodes, write_d4rl, kinds):
    """One-hot rows are the same rows as either kind."""
    path = write_d4rl(tmp_path / "a.hdf5", make_episodes(), actions=np.eye(4)[np.arange(12) % 4])
    first, second = (Card(id="my/robot-v0", source="imported", actions=kind) for kind in kinds)
    kept = import_dataset(path, first)
    assert import_dataset(path, first).discrete_actions == kept.discrete_actions
    with pytest.raises(DatasetError, match="actions="):
        import_dataset(path, second)
    assert find_card(first.id).actions == (kinds[0] or "discrete")
    other = replace(find_card(first.id), actions=second.actions)
    assert published_key(other) != published_key(find_card(first.id))


@pytest.mark.parametrize("name", ["robot", "my/robot", "d4rl/robot-v0", "my/a--b-v0", "my/ö!-v0"])
def test_malformed_ids(tmp_path, make_episodes, write_d4rl, name):
    path = write_d4rl(tmp_path / "a.hdf5", make_episodes())
    with pytest.raises(DatasetError, match=f"No import can be called '{name}': it m"):
        import_dataset(path, Card(id=name, source="imported"))


def test_an_environment_that_no_card_holds_leaves_no_card(tmp_path, make_episodes, write_d4rl):
    path = write_d4rl(tmp_path / "a.hdf5", make_episodes(observation_size=11, action_size=3))
    spec = EnvironmentSpec("Hopper-v5", 50, {"default_camera_config": None})
    with pytest.raises(DatasetError, match="its card is no TOML"):
        import_dataset(path, Card(id="my/robot-v0", source="imported", environment=spec))
    assert not imported_cards_dir().exists()


def test_a_damaged_card_stops_only_whoever_asks_for_its_dataset():
    imported_cards_dir().mkdir(parents=True)
    (imported_cards_dir() / "whole.toml").write_text(card_text(CARD), encoding="utf-8")
    damaged = imported_cards_dir() / "torn.toml"
    damaged.write_text(card_text(CARD)[:40], encoding="utf-8")
    assert find_card(CARD.id).id == CARD.id
    assert find_card("hopper-medium-v2").source == "d4rl"
    (fault,) = damaged_cards()
    assert str(damaged) in fault
    assert fault.endswith("Remove that file, or import its dataset again.")
    with pytest.raises(DatasetError, match=r"no dataset 'my/torn-v0'.*torn\.toml"):
        find_card("my/torn-v0")
