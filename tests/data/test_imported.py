import json
from dataclasses import replace

import pytest

from cqlbench.data import cards
from cqlbench.data.cards import Card, all_cards, imported_cards_dir
from cqlbench.data.imported import card_text, import_dataset, recorded_environment
from cqlbench.environments import EnvironmentSpec
from cqlbench.errors import DatasetError

CARD = Card(
    id="lab/arm/reach-v3",
    source="imported",
    short_name="arm/reach",
    environment=EnvironmentSpec(
        "Hopper-v4",
        40,
        {"name": 'a "b" \\ é', "deep": {"x": [1, 2.5]}, "flag": True},
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


def test_what_is_refused_leaves_nothing(tmp_path, make_episodes, write_d4rl, d4rl_arrays):
    episodes = make_episodes()
    actions = d4rl_arrays(episodes)["actions"] * 9
    path = write_d4rl(tmp_path / "a.hdf5", episodes, actions=actions)
    with pytest.raises(DatasetError, match="outside the bounds"):
        import_dataset(path, Card(id="my/robot-v0", source="imported"))
    assert not imported_cards_dir().exists()
    import_dataset(path, Card(id="my/robot-v0", source="imported", quirks=("action_clip",)))
    assert cards.load_card("my/robot-v0").quirks == ("action_clip",)


def test_an_id_of_a_published_dataset(tmp_path, make_episodes, write_d4rl, monkeypatch):
    path = write_d4rl(tmp_path / "a.hdf5", make_episodes())
    taken = Card(id="my/robot-v0", source="d4rl")
    monkeypatch.setattr("cqlbench.data.imported.all_cards", lambda: {taken.id: taken})
    with pytest.raises(DatasetError, match="is a published dataset's id"):
        import_dataset(path, replace(taken, source="imported"))


def test_the_environment_that_minari_recorded(tmp_path, make_episodes, write_minari):
    folder = write_minari(tmp_path / "m", make_episodes())
    assert recorded_environment(folder) is None
    spec = {"id": "Hopper-v5", "max_episode_steps": 1000, "kwargs": {"ctrl_cost_weight": 1.0}}
    (folder / "data" / "metadata.json").write_text(json.dumps({"env_spec": json.dumps(spec)}))
    assert recorded_environment(folder) == EnvironmentSpec("Hopper-v5", 1000, {"ctrl_cost_weight": 1.0})
    assert recorded_environment(tmp_path / "none") is None
    (folder / "data" / "metadata.json").write_text(json.dumps({"env_spec": json.dumps({"id": "Robot-v9"})}))
    assert recorded_environment(folder) is None
