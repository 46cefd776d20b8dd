import hashlib
import os
import time
import tracemalloc
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch

from cqlbench.core.errors import DatasetError
from cqlbench.data import load as provide_module
from cqlbench.data.buffer import content_hash
from cqlbench.data.cards import Card
from cqlbench.data.load import provide
from cqlbench.data.local import known
from cqlbench.data.readers.d4rl import read_d4rl
from cqlbench.data.resolve import Resolution, find_card, resolve


@pytest.fixture
def path(tmp_path, make_episodes, write_d4rl):
    return write_d4rl(tmp_path / "a.hdf5", make_episodes())


def no_reading(*_):
    raise AssertionError("read although there is a buffer")


def test_path_is_read_once(path, monkeypatch, d4rl_arrays, make_episodes):
    dataset = provide(resolve(str(path)))
    expected = d4rl_arrays(make_episodes())
    np.testing.assert_array_equal(dataset.storage["observation"].numpy(), expected["observations"])
    assert dataset.id == str(path)
    monkeypatch.setattr(provide_module, "read_d4rl", no_reading)
    assert provide(resolve(str(path))).content_hash == dataset.content_hash


def test_changed_file_is_read_again(path, make_episodes, write_d4rl):
    before = provide(resolve(str(path)))
    write_d4rl(path, make_episodes(seed=1))
    os.utime(path, ns=(1, 1))
    assert provide(resolve(str(path))).content_hash != before.content_hash


def test_folder_and_file_have_the_same_content(tmp_path, path, make_episodes, write_minari):
    folder = write_minari(tmp_path / "m", make_episodes())
    ours, theirs = (provide(resolve(str(place))) for place in (folder, path))
    assert ours.content_hash == theirs.content_hash
    assert ours.path != theirs.path


def test_published_file_is_found_by_its_checksum(path, tmp_path, monkeypatch):
    content = path.read_bytes()
    card = Card(
        id="d4rl/tiny-v0",
        source="d4rl",
        urls=("http://example.invalid/tiny.hdf5",),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    (tmp_path / "d4rl").mkdir()
    (tmp_path / "d4rl" / "tiny.hdf5").write_bytes(content)
    dataset = provide(Resolution(card.id, card, ""))
    (tmp_path / "d4rl" / "tiny.hdf5").unlink()
    monkeypatch.setattr(provide_module, "read_d4rl", no_reading)
    assert provide(Resolution(card.id, card, "")).content_hash == dataset.content_hash


def test_embedded_is_collected_once(path, monkeypatch):
    calls = []

    def collect(card):
        calls.append(card.id)
        return read_d4rl(path)

    monkeypatch.setattr(provide_module, "collect", collect)
    monkeypatch.setattr(provide_module, "source_key", lambda card: f"{card.policies[0]}:1")
    resolution = resolve("hopper-medium", "embedded")
    resolution = replace(resolution, card=msgspec.structs.replace(resolution.card, rows=12))
    first = provide(resolution)
    assert torch.equal(provide(resolution).storage["action"], first.storage["action"])
    assert calls == ["embedded/hopper-medium-v0"]


def test_refused_by_the_validation(tmp_path, make_episodes, write_d4rl):
    path = write_d4rl(tmp_path / "b.hdf5", make_episodes(), actions=np.full((12, 2), 1.5))
    with pytest.raises(DatasetError, match=r"b\.hdf5 is refused: The action of row 0"):
        provide(resolve(str(path)))
    with pytest.raises(DatasetError, match="is refused"):
        provide(resolve(str(path)))


def test_wider_actions_if_the_card_says_so(tmp_path, make_episodes, write_d4rl):
    path = write_d4rl(tmp_path / "b.hdf5", make_episodes(), actions=np.full((12, 2), 1.5))
    card = Card(id=str(path), source="path", action_low=-2.0, action_high=2.0)
    assert provide(Resolution(card.id, card, "", path)).rows == 12


def test_file_that_went_away(path):
    resolution = resolve(str(path))
    path.unlink()
    with pytest.raises(DatasetError, match="cannot be read"):
        provide(resolution)


def test_embedded_card_can_be_loaded():
    assert find_card("embedded/hopper-medium-v0").source == "embedded"


def test_a_file_without_a_published_checksum_is_known_by_its_own(path, tmp_path, monkeypatch):
    card = Card(id="d4rl/tiny-v0", source="d4rl", urls=("http://example.invalid/tiny.hdf5",))
    assert known(card).cached == ""
    (tmp_path / "d4rl").mkdir()
    theirs = tmp_path / "d4rl" / "tiny.hdf5"
    theirs.write_bytes(path.read_bytes())
    assert known(card).cached == "file"
    dataset = provide(Resolution(card.id, card, ""))
    assert known(card).cached == "ready"
    theirs.unlink()
    monkeypatch.setattr(provide_module, "read_d4rl", no_reading)
    assert provide(Resolution(card.id, card, "")).content_hash == dataset.content_hash


def test_a_minari_dataset_is_fetched_when_it_is_not_here(tmp_path, make_episodes, write_minari, monkeypatch):
    card = Card(id="minari/a/b-v0", source="minari")
    folder = write_minari(tmp_path / "elsewhere", make_episodes())
    asked = []

    def fetch_folder(card):
        asked.append(card.id)
        return folder

    monkeypatch.setattr(provide_module, "fetch_folder", fetch_folder)
    assert known(card).cached == ""
    assert provide(Resolution(card.id, card, "")).rows == 12
    assert asked == ["minari/a/b-v0"]
    (tmp_path / "minari" / "a").mkdir(parents=True)
    folder.rename(tmp_path / "minari" / "a" / "b-v0")
    assert known(card).cached == "file"


def test_warnings_become_notes(tmp_path, make_episodes, write_d4rl, d4rl_arrays):
    actions = np.zeros_like(d4rl_arrays(make_episodes())["actions"])
    path = write_d4rl(tmp_path / "a.hdf5", make_episodes(), actions=actions)
    dataset = provide(resolve(str(path)))
    assert dataset.notes == ("Dimensions never change: actions 0, 1.",)


def test_rows_of_a_buffer_are_those_that_were_read(path):
    dataset = provide(resolve(str(path)))
    assert content_hash(dataset.transitions()) == dataset.content_hash


@pytest.mark.parametrize("source", ["whole", "derived", "minari"])
def test_conversion_needs_little_more_memory_than_the_dataset(
    tmp_path, make_episodes, write_d4rl, write_minari, source
):
    episodes = make_episodes(
        ["terminated", "truncated"] * 50, [1000] * 100, observation_size=11, action_size=3
    )
    if source == "minari":
        path = write_minari(tmp_path / "m", episodes)
    else:
        path = write_d4rl(
            tmp_path / "a.hdf5", episodes, without=() if source == "whole" else ("next_observations",)
        )
    size = 100_000 * 4 * (11 + 11 + 3 + 1)
    resolution = resolve(str(path))
    del episodes
    tracemalloc.start()
    try:
        provide(resolution)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size < peak < 1.5 * size


def test_conversion_is_fast(tmp_path, make_episodes, write_d4rl):
    """A million rows of this size take 1 to 2 s; of processor time, since the machine may be busy."""
    episodes = make_episodes(
        ["terminated", "truncated"] * 125, [1000] * 250, observation_size=11, action_size=3
    )
    resolution = resolve(str(write_d4rl(tmp_path / "a.hdf5", episodes)))
    began = time.process_time()
    assert provide(resolution).rows == 250_000
    assert time.process_time() - began < 2.0
