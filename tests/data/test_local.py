"""What a machine has of a dataset; the cases of files are in `test_provide.py`."""

import json

from cqlbench.data.buffer_files import buffer_folder, is_built_from_any_source, write_manifest
from cqlbench.data.cards import Card
from cqlbench.data.local import where, without_a_card


def test_an_embedded_dataset_is_ready_once_a_whole_buffer_of_it_is_here(world):
    card = Card(id="embedded/toy-v0", source="embedded")
    assert where(card) == ""
    folder = buffer_folder(card.id, "collected with some simulator")
    folder.mkdir(parents=True)
    write_manifest(folder, {"id": card.id})
    assert where(card) == "ready"
    (folder / "stray").touch()
    assert where(card) == ""


def test_a_buffer_of_another_dataset_with_a_like_name_does_not_count(world):
    folder = buffer_folder("embedded/toy-v0", "k")
    folder.mkdir(parents=True)
    write_manifest(folder, {"id": "embedded/toy-v0"})
    assert not is_built_from_any_source("embedded/toy/v0")  # the same folder name but for the digest


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
