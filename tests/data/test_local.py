"""What a machine has of a dataset; the cases of files are in `test_provide.py`."""

import json
from importlib import metadata

from msgspec.structs import replace

from cqlbench.data import local
from cqlbench.data.buffer_files import buffer_folder, built_from_any_source, write_manifest
from cqlbench.data.cards import Card
from cqlbench.data.local import Known, known, why_unplayed, without_a_card
from cqlbench.environments.spec import EnvironmentSpec


def test_an_embedded_dataset_is_ready_once_a_whole_buffer_of_it_is_here(world):
    card = Card(id="embedded/toy-v0", source="embedded")
    assert known(card).cached == ""
    folder = buffer_folder(card.id, "collected with some simulator")
    folder.mkdir(parents=True)
    write_manifest(folder, {"id": card.id, "rows": 9, "episodes": 2, "returns": {"mean": 4.5}})
    assert known(card) == Known(card, "ready", 9, 2, 4.5)
    (folder / "stray").touch()
    assert known(card).cached == ""


def test_a_buffer_of_another_dataset_with_a_like_name_does_not_count(world):
    folder = buffer_folder("embedded/toy-v0", "k")
    folder.mkdir(parents=True)
    write_manifest(folder, {"id": "embedded/toy-v0"})
    assert not built_from_any_source("embedded/toy/v0")  # the same folder name but for the digest


def test_minari_lists_local_datasets_that_no_card_describes(world, monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    assert without_a_card() == []
    assert not (tmp_path / "minari").exists()
    card = Card(id="minari/known/toy-v0", source="minari")
    monkeypatch.setattr("cqlbench.data.local.all_cards", lambda: {card.id: card})
    for name in ("known/toy-v0", "lab/arm-v1", "torn-v0"):
        (tmp_path / "minari" / name / "data").mkdir(parents=True)
        if name != "torn-v0":
            (tmp_path / "minari" / name / "data" / "metadata.json").write_text(
                json.dumps({"dataset_id": name})
            )
    assert without_a_card() == [tmp_path / "minari" / "lab" / "arm-v1"]


def test_what_can_be_played_shows_without_making_it(monkeypatch):
    plain = Card(id="d4rl/a-v0", source="d4rl", environment=EnvironmentSpec("Hopper-v4"))
    versions = {"mujoco": "4.0.0"}

    def version(package):
        if package not in versions:
            raise metadata.PackageNotFoundError
        return versions[package]

    monkeypatch.setattr(local.metadata, "version", version)
    assert why_unplayed(plain) == ""
    assert why_unplayed(replace(plain, environment=None))
    assert why_unplayed(replace(plain, environment=None, environment_missing_because="lost")) == "lost"
    assert why_unplayed(replace(plain, broken_from={"mujoco": 5, "absent": 1})) == ""
    assert "mujoco 4" in why_unplayed(replace(plain, broken_from={"mujoco": 4}))
    foreign = replace(plain, environment=EnvironmentSpec("Arm-v0", module="no_such_arms.envs"))
    assert why_unplayed(foreign) == "no_such_arms is not installed"
    local._missing.cache_clear()
    needy = replace(plain, environment=EnvironmentSpec("Pen-v0", module="cqlbench", extra="robotics"))
    assert "cqlbench[robotics]" in why_unplayed(needy)
    local._missing.cache_clear()
    versions["gymnasium-robotics"] = "1.4.2"
    assert why_unplayed(needy) == ""
    local._missing.cache_clear()
    monkeypatch.setattr(local.metadata, "requires", version)  # from a tree that is not installed
    assert why_unplayed(needy) == ""
    local._missing.cache_clear()


def test_a_minari_folder_says_how_long_it_is_and_what_its_scores_are(world, monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    card = Card(id="minari/lab/arm-v0", source="minari", score_min=0.0, score_max=1.0)
    assert known(card) == Known(card, "", None, None, None)
    data = tmp_path / "minari" / card.name / "data"
    data.mkdir(parents=True)
    facts = {"total_steps": 70, "total_episodes": 7, "ref_min_score": -3.5, "ref_max_score": 8}
    (data / "metadata.json").write_text(json.dumps(facts))
    found = known(card)
    assert (found.cached, found.rows, found.episodes) == ("file", 70, 7)
    assert (found.card.score_min, found.card.score_max) == (-3.5, 8)
    (data / "metadata.json").write_text("{")
    assert known(card) == Known(card, "file", None, None, None)
