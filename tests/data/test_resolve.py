import errno
import json
import os
from pathlib import Path

import pytest

from cqlbench.core.errors import DatasetError
from cqlbench.core.paths import benchmarks_dir
from cqlbench.data.buffer import buffer_for
from cqlbench.data.cards import Card
from cqlbench.data.local import published_key
from cqlbench.data.readers.d4rl import read_d4rl
from cqlbench.data.resolve import Resolution, as_stored, find_card, resolve


@pytest.fixture
def online(monkeypatch):
    monkeypatch.setattr("cqlbench.data.fetch.reachable", lambda card: card.source == "d4rl")


def put_sparse(path, size):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)


@pytest.mark.parametrize("source", ["auto", "d4rl"])
def test_full_id_is_itself_whatever_is_reachable(source):
    found = resolve("d4rl/hopper-medium-v2", source)
    assert found.dataset_id == found.card.id == "d4rl/hopper-medium-v2"
    assert found.path is None


@pytest.mark.parametrize("name", ["hopper-medium", "hopper-medium-v2"])
def test_reachable_d4rl_wins(online, name):
    found = resolve(name)
    assert found.dataset_id == "d4rl/hopper-medium-v2"
    assert "to be downloaded" in found.reason


@pytest.mark.parametrize(
    "place", ["d4rl/hopper_medium-v2.hdf5", "cache/downloads/d4rl/hopper-medium-v2.hdf5"]
)
def test_cached_file_wins_offline(tmp_path, place):
    put_sparse(tmp_path / place, 152756557)
    found = resolve("hopper-medium")
    assert found.dataset_id == "d4rl/hopper-medium-v2"
    assert "cached" in found.reason


def test_a_file_of_another_size_does_not_count(tmp_path):
    put_sparse(tmp_path / "d4rl" / "hopper_medium-v2.hdf5", 7)
    assert resolve("hopper-medium").dataset_id == "embedded/hopper-medium-v0"


def test_built_buffer_wins_offline(tmp_path, make_episodes, write_d4rl):
    path = write_d4rl(tmp_path / "a.hdf5", make_episodes())
    card = find_card("d4rl/hopper-medium-v2")
    buffer_for(card.id, published_key(card), lambda: read_d4rl(path))
    assert resolve("hopper-medium").dataset_id == card.id


def test_falls_back_to_embedded_and_says_so():
    found = resolve("hopper-medium")
    assert found.dataset_id == "embedded/hopper-medium-v0"
    assert "because d4rl/hopper-medium-v2 is not cached and CQLBENCH_OFFLINE is set" in found.reason
    assert "\n" not in found.reason


def test_unreachable_host_is_the_reason(monkeypatch):
    monkeypatch.setenv("CQLBENCH_OFFLINE", "0")
    monkeypatch.setattr("cqlbench.data.fetch.reachable", lambda _: False)
    assert "its host cannot be reached" in resolve("hopper-medium").reason


def test_a_published_version_is_not_replaced_by_an_embedded_dataset():
    with pytest.raises(
        DatasetError, match=r"'hopper-medium-v2' cannot be had here: .* CQLBENCH_OFFLINE is set"
    ):
        resolve("hopper-medium-v2")


def test_nothing_fits():
    with pytest.raises(
        DatasetError, match=r"'ant-medium' cannot be had here.*connect to the network"
    ) as caught:
        resolve("ant-medium")
    assert "http://rail.eecs.berkeley.edu" in str(caught.value)


def test_forced_embedded(online):
    assert resolve("hopper-medium", "embedded").dataset_id == "embedded/hopper-medium-v0"
    assert resolve("hopper-medium-v0", "embedded").dataset_id == "embedded/hopper-medium-v0"


def test_forced_d4rl_does_not_fall_back():
    assert resolve("hopper-medium", "d4rl").dataset_id == "d4rl/hopper-medium-v2"


def test_forced_minari(tmp_path):
    folder = tmp_path / "minari" / "mujoco" / "hopper" / "medium-v0"
    with pytest.raises(DatasetError, match=r"CQLBENCH_OFFLINE .* `minari download mujoco/hopper/medium-v0`"):
        resolve("hopper-medium", "minari")
    folder.mkdir(parents=True)  # what an interrupted download leaves is no dataset
    with pytest.raises(DatasetError, match="not on this machine"):
        resolve("hopper-medium", "minari")
    (folder / "data").mkdir()
    found = resolve("hopper-medium", "minari")
    assert (found.dataset_id, found.path) == ("minari/mujoco/hopper/medium-v0", folder)
    assert resolve("minari/mujoco/hopper/medium-v0").path == folder
    assert resolve("mujoco/hopper/medium-v0").path == folder


def test_local_minari_stands_in_when_there_is_no_embedded_dataset(tmp_path):
    (tmp_path / "minari" / "mujoco" / "ant" / "medium-v0" / "data").mkdir(parents=True)
    assert resolve("ant-medium").dataset_id == "minari/mujoco/ant/medium-v0"
    assert resolve("hopper-medium").dataset_id == "embedded/hopper-medium-v0"


def test_minari_is_downloaded_when_there_is_a_network(monkeypatch):
    monkeypatch.setenv("CQLBENCH_OFFLINE", "0")
    for name, source in (
        ("hopper-medium", "minari"),
        ("hopper-simple", "auto"),
        ("D4RL/pen/human-v2", "auto"),
    ):
        found = resolve(name, source)
        assert found.card.source == "minari"
        assert found.path is None
        assert found.reason.endswith("to be downloaded")


def test_a_version_is_d4rls_and_no_other_stands_in(tmp_path):
    (tmp_path / "minari" / "mujoco" / "ant" / "medium-v0" / "data").mkdir(parents=True)
    with pytest.raises(DatasetError, match="'ant-medium-v0' cannot be had here"):
        resolve("ant-medium-v0")
    with pytest.raises(DatasetError, match=r"did you mean .*minari/D4RL/pen/human-v2"):
        resolve("D4RL/pen/human-v3")


def test_the_newest_version_of_d4rl_wins(online):
    assert resolve("hopper-medium").dataset_id == "d4rl/hopper-medium-v2"
    assert resolve("hopper-medium-v0").dataset_id == "d4rl/hopper-medium-v0"
    assert resolve("pen-human").dataset_id == "d4rl/pen-human-v1"


def test_name_that_only_minari_has():
    with pytest.raises(DatasetError, match="minari download mujoco/hopper/simple-v0"):
        resolve("hopper-simple")


def test_path_to_a_file(tmp_path, make_episodes, write_d4rl):
    path = write_d4rl(tmp_path / "mine.hdf5", make_episodes())
    found = resolve(str(path))
    assert (found.dataset_id, found.path) == (str(path), path)
    assert (found.card.source, found.card.environment) == ("path", None)
    assert "not evaluated" in found.reason


def test_relative_and_absolute_paths_are_one_dataset(tmp_path, make_episodes, write_d4rl, monkeypatch):
    write_d4rl(tmp_path / "mine.hdf5", make_episodes())
    monkeypatch.chdir(tmp_path)
    assert resolve("mine.hdf5").dataset_id == resolve("./mine.hdf5").dataset_id == str(tmp_path / "mine.hdf5")


def test_path_to_a_folder(tmp_path, make_episodes, write_minari):
    folder = write_minari(tmp_path / "mine", make_episodes())
    assert resolve(str(folder)).path == folder
    with pytest.raises(DatasetError, match="is read as minari"):
        resolve(str(folder), "d4rl")


def test_discrete_actions_have_a_preset_unless_the_card_names_one(tmp_path, make_episodes, write_minari):
    facts = json.dumps({"action_space": json.dumps({"type": "Discrete", "n": 2, "start": 0})})
    mine = write_minari(tmp_path / "mine", make_episodes())
    assert resolve(str(mine)).card.preset == ""
    known = tmp_path / "minari" / "mujoco" / "hopper" / "medium-v0"
    for folder in (mine, write_minari(known, make_episodes())):
        (folder / "data" / "metadata.json").write_text(facts)
    assert resolve(str(mine)).card.preset == "discrete"
    assert resolve("minari/mujoco/hopper/medium-v0").card.preset == "discrete"
    assert (benchmarks_dir() / "preset" / "discrete.yaml").is_file()
    named = Resolution("minari/a-v0", Card("minari/a-v0", "minari", preset="own"), "", known)
    assert as_stored(named).card.preset == "own"


def test_folder_called_like_a_dataset(tmp_path, monkeypatch, make_episodes, write_minari):
    write_minari(tmp_path / "hopper-medium", make_episodes())
    write_minari(tmp_path / "own", make_episodes())
    monkeypatch.chdir(tmp_path)
    assert resolve("hopper-medium").dataset_id == "embedded/hopper-medium-v0"
    assert resolve("./hopper-medium").path == tmp_path / "hopper-medium"
    assert resolve("own").path == tmp_path / "own"


def test_missing_path():
    with pytest.raises(DatasetError, match=r"no file or folder .*none\.hdf5"):
        resolve("somewhere/none.hdf5")


@pytest.mark.parametrize("name", ["", " ", "\t"])
def test_no_name_is_not_the_current_folder(name):
    with pytest.raises(DatasetError, match="No dataset was named"):
        resolve(name)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("x" * 300, "There is no dataset 'xxx"),
        ("x" * 300 + ".hdf5", "There is no file or folder xxx"),
        ("/" + "x/" * 4000, "There is no file or folder /x"),
        ("~nouser/x.hdf5", "home folder in '~nouser/x.hdf5' is not known"),
        ("hopper\0medium", r"name 'hopper\\x00medium' holds characters"),
        ("/tmp/a\0.hdf5", "holds characters"),
        ("hopper\udcff", r"'hopper\\udcff' holds characters"),
        ("hopper-medium\n", "holds characters"),
    ],
)
def test_impossible_names_are_one_sentence(name, sentence):
    with pytest.raises(DatasetError, match=sentence) as caught:
        resolve(name)
    assert "\n" not in str(caught.value)
    assert "\0" not in str(caught.value)


@pytest.fixture
def locked(tmp_path, monkeypatch):
    """A folder that may not be looked into, also for root."""
    folder = tmp_path / "locked"
    real = os.stat

    def refuse(path, *rest, **options):
        if isinstance(path, str | os.PathLike) and Path(path).is_relative_to(folder) and Path(path) != folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
        return real(path, *rest, **options)

    monkeypatch.setattr(os, "stat", refuse)
    return folder


@pytest.mark.parametrize("suffix", ["mine.hdf5", "minari_folder"])
def test_a_folder_that_may_not_be_looked_into_is_one_sentence(locked, suffix):
    with pytest.raises(DatasetError, match=r"cannot be looked at \(Permission denied\)"):
        resolve(str(locked / suffix))


def test_a_bare_name_in_a_folder_that_may_not_be_looked_into(locked, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(locked))
    with pytest.raises(DatasetError, match=r"cannot be looked at \(Permission denied\)"):
        resolve("hopper-medium", "minari")


def test_a_locked_d4rl_folder_is_passed_over(locked, monkeypatch):
    monkeypatch.setenv("D4RL_DATASET_DIR", str(locked))
    assert resolve("hopper-medium").dataset_id == "embedded/hopper-medium-v0"


@pytest.mark.parametrize("variable", ["D4RL_DATASET_DIR", "MINARI_DATASETS_PATH"])
def test_a_folder_of_an_unknown_user_is_one_sentence(monkeypatch, variable):
    monkeypatch.setenv(variable, "~nouser/datasets")
    with pytest.raises(DatasetError, match="home folder in '~nouser/datasets' is not known"):
        resolve("ant-medium")


def test_file_of_another_kind(tmp_path):
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(DatasetError, match=r"neither an .hdf5 file"):
        resolve(str(tmp_path / "a.csv"))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("hoper-medium", "'hopper-medium'"),
        ("hopper_medium_v2", "'hopper-medium-v2'"),
        ("d4rl/hopper-medum-v2", "'d4rl/hopper-medium-v2'"),
        ("Hopper-medium", "'hopper-medium'"),
    ],
)
def test_unknown_name_suggests_the_nearest(typed, meant):
    with pytest.raises(DatasetError, match=f"no dataset '{typed}'; did you mean .*{meant}"):
        resolve(typed)


def test_unknown_name_near_nothing_says_where_the_names_are():
    with pytest.raises(DatasetError, match=r"no dataset 'xyzzy'; `cqlbench data list` prints all names\."):
        resolve("xyzzy")


def test_name_that_another_source_has():
    with pytest.raises(DatasetError, match="no dataset 'ant-random' of the source 'embedded'"):
        resolve("ant-random", "embedded")


def test_unknown_source():
    with pytest.raises(DatasetError, match="no source 'hub'; it is auto, d4rl, minari, embedded"):
        resolve("hopper-medium", "hub")


def test_id_and_source_that_disagree():
    with pytest.raises(DatasetError, match="not of the source 'minari'"):
        resolve("d4rl/hopper-medium-v2", "minari")


@pytest.mark.parametrize(
    ("name", "source", "dataset_id"),
    [
        ("hopper-medium", "auto", "d4rl/hopper-medium-v2"),
        ("hopper-medium-v1", "auto", "d4rl/hopper-medium-v1"),
        ("hopper-medium", "minari", "minari/mujoco/hopper/medium-v0"),
        ("hopper-medium", "embedded", "embedded/hopper-medium-v0"),
        ("kitchen-mixed", "minari", "minari/D4RL/kitchen/mixed-v2"),
        ("pointmaze-umaze", "auto", "minari/D4RL/pointmaze/umaze-v2"),
        ("D4RL/antmaze/umaze-v1", "auto", "minari/D4RL/antmaze/umaze-v1"),
        ("antmaze-umaze", "auto", "d4rl/antmaze-umaze-v2"),
    ],
)
def test_names_mean_cards_wherever_the_data_are(name, source, dataset_id):
    assert find_card(name, source).id == dataset_id


@pytest.mark.parametrize(
    ("name", "source", "sentence"),
    [
        ("pen-hunan", "auto", "no dataset 'pen-hunan'; did you mean .*'pen-human'"),
        (
            "pointmaze-umaze",
            "d4rl",
            "no dataset 'pointmaze-umaze' of the source 'd4rl'; did you mean 'antmaze-umaze'",
        ),
        ("xyzzy", "auto", "`cqlbench data list` prints all names"),
        ("pen-human", "hub", "no source 'hub'"),
        (" ", "auto", "No dataset was named"),
    ],
)
def test_other_names_are_one_sentence(name, source, sentence):
    with pytest.raises(DatasetError, match=sentence) as caught:
        find_card(name, source)
    assert "\n" not in str(caught.value)
