import hashlib
import io
import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from hostile_server import serving
from msgspec.structs import replace

from cqlbench.core.errors import DatasetError
from cqlbench.data import download as download_module
from cqlbench.data.cards import Card
from cqlbench.data.fetch import fetch, fetch_folder, reachable
from cqlbench.data.local import candidates, known_sha256, minari_folder


def hdf5(seed):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["rewards"] = np.random.default_rng(seed).normal(size=10_000)
    return buffer.getvalue()


CONTENT, OTHER = hdf5(0), hdf5(1)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("CQLBENCH_OFFLINE", "0")
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(download_module.time, "sleep", lambda _: None)
    with serving() as running:
        running.files["/set/tiny.hdf5"] = CONTENT
        yield running


@pytest.fixture
def card(server):
    return Card(
        id="d4rl/tiny-v0",
        source="d4rl",
        file="set/tiny.hdf5",
        urls=(server.url("/set/tiny.hdf5"),),
        bytes=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )


@pytest.fixture
def unpublished(card):
    return replace(card, bytes=None, sha256=None)


def test_downloads_once(card, server, tmp_path):
    path = fetch(card)
    assert path == tmp_path / "cache" / "downloads" / "d4rl" / "tiny-v0.hdf5"
    assert path.read_bytes() == CONTENT
    assert fetch(card) == path
    assert len(server.asked) == 1


def test_a_damaged_copy_is_downloaded_again(card, server):
    fetch(card).write_bytes(CONTENT[:-1] + b"!")
    assert fetch(card).read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_wrong_bytes_are_refused_and_leave_nothing(card, server, tmp_path):
    server.files["/set/tiny.hdf5"] = OTHER
    with pytest.raises(DatasetError, match="not the published"):
        fetch(card)
    assert list((tmp_path / "cache" / "downloads" / "d4rl").iterdir()) == []


def test_the_first_copy_without_a_published_checksum_sets_it(unpublished, server):
    assert known_sha256(unpublished) is None
    path = fetch(unpublished)
    assert known_sha256(unpublished) == hashlib.sha256(CONTENT).hexdigest()
    path.unlink()
    assert fetch(unpublished).read_bytes() == CONTENT
    path.unlink()
    server.files["/set/tiny.hdf5"] = OTHER
    with pytest.raises(
        DatasetError, match=r"checksum of the first copy \(delete .*tiny-v0.sha256 to take another\)"
    ):
        fetch(unpublished)
    path.with_name("tiny-v0.sha256").unlink()
    assert fetch(unpublished).read_bytes() == OTHER


def test_a_torn_file_without_a_published_checksum_sets_nothing(unpublished, server, tmp_path):
    (tmp_path / "d4rl").mkdir()
    (tmp_path / "d4rl" / "tiny.hdf5").write_bytes(CONTENT[:-5_000])
    server.files["/set/tiny.hdf5"] = CONTENT[:-5_000]
    with pytest.raises(DatasetError, match="'d4rl/tiny-v0' is not a whole HDF5 file"):
        fetch(unpublished)
    assert known_sha256(unpublished) is None
    server.files["/set/tiny.hdf5"] = CONTENT
    assert fetch(unpublished).read_bytes() == CONTENT


def test_a_file_in_d4rls_folder_is_used_in_place(card, unpublished, server, tmp_path):
    (tmp_path / "d4rl").mkdir()
    theirs = tmp_path / "d4rl" / "tiny.hdf5"
    theirs.write_bytes(CONTENT)
    assert fetch(card) == fetch(unpublished) == theirs
    assert known_sha256(unpublished) == card.sha256
    assert server.asked == []
    theirs.write_bytes(CONTENT[:-1] + b"!")
    assert fetch(card) != theirs
    assert fetch(unpublished) != theirs


def test_offline(card, server, monkeypatch):
    monkeypatch.setenv("CQLBENCH_OFFLINE", "1")
    with pytest.raises(
        DatasetError, match="no intact copy on this machine; unset CQLBENCH_OFFLINE"
    ) as caught:
        fetch(card)
    assert "\n" not in str(caught.value)
    assert not reachable(card)
    assert server.asked == []


def test_reachable(card):
    assert reachable(card)
    assert not reachable(replace(card, urls=("http://127.0.0.1:9/a.hdf5",)))


@pytest.mark.parametrize("place", ["set/tiny.hdf5", "tiny.hdf5"])
def test_a_mirror_that_is_a_folder_is_used_in_place_and_offline(card, server, tmp_path, monkeypatch, place):
    (tmp_path / "mirror" / "set").mkdir(parents=True)
    (tmp_path / "mirror" / place).write_bytes(CONTENT)
    monkeypatch.setenv("CQLBENCH_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("CQLBENCH_OFFLINE", "1")
    assert fetch(card) == tmp_path / "mirror" / place
    assert server.asked == []


def test_a_mirror_that_is_an_address_is_asked_first(card, server, monkeypatch):
    server.files["/mirror/set/tiny.hdf5"] = CONTENT
    monkeypatch.setenv("CQLBENCH_MIRROR", server.url("/mirror/"))
    assert fetch(card).read_bytes() == CONTENT
    monkeypatch.setenv("CQLBENCH_MIRROR", server.url("/empty"))
    assert fetch(replace(card, id="d4rl/other-v0")).read_bytes() == CONTENT
    assert [path for path, *_ in server.asked] == [
        "/mirror/set/tiny.hdf5",
        "/empty/set/tiny.hdf5",
        "/set/tiny.hdf5",
    ]


def test_a_mirror_that_is_neither(card, monkeypatch, tmp_path):
    monkeypatch.setenv("CQLBENCH_MIRROR", str(tmp_path / "none"))
    with pytest.raises(DatasetError, match=r"CQLBENCH_MIRROR=.*none is neither a folder nor an address"):
        candidates(card)


def test_a_card_without_a_file():
    with pytest.raises(DatasetError, match="its card has no urls"):
        fetch(Card(id="d4rl/a-v0", source="d4rl"))
    with pytest.raises(DatasetError, match="its card has no urls"):
        fetch_folder(Card(id="minari/a-v0", source="minari"))


def test_a_cache_that_cannot_be_written(card, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CQLBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DatasetError, match="set CQLBENCH_CACHE"):
        fetch(card)


def test_two_processes_make_one_download(card, server, tmp_path):
    program = (
        "import sys; from cqlbench.data.cards import Card; from cqlbench.data.fetch import fetch\n"
        f"card = Card({card.id!r}, 'd4rl', urls={card.urls!r}, bytes={card.bytes}, sha256={card.sha256!r})\n"
        "print('ready', flush=True); sys.stdin.readline(); print(fetch(card))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    paths = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert paths == {str(tmp_path / "cache" / "downloads" / "d4rl" / "tiny-v0.hdf5")}
    assert len(server.asked) == 1


# Minari: the hub lists a dataset's files, and sizes and checksums of the large ones.

FILES = {"data/metadata.json": b'{"total_episodes": 3}', "data/main_data.hdf5": CONTENT}
API, FOLDER = (
    "/api/datasets/farama/set/tree/main/a/b-v0?recursive=true",
    "/datasets/farama/set/resolve/main/a/b-v0",
)


@pytest.fixture
def hub(server, monkeypatch):
    def listing(files):
        entries = [{"type": "directory", "path": "a/b-v0/data", "size": 0}]
        for name, content in files.items():
            entry = {"type": "file", "path": f"a/b-v0/{name}", "size": len(content), "oid": "1"}
            if name.endswith("hdf5"):
                entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}
            entries.append(entry)
        return json.dumps(entries).encode()

    monkeypatch.setenv("HF_ENDPOINT", server.url(""))
    server.files[API] = listing(FILES)
    server.files |= {f"{FOLDER}/{name}": content for name, content in FILES.items()}
    return server


@pytest.fixture
def minari_card():
    return Card(
        id="minari/set/a/b-v0",
        source="minari",
        urls=("https://huggingface.co/datasets/farama/set/tree/main/a/b-v0",),
    )


def test_a_folder_is_downloaded_once_and_whole(minari_card, hub, tmp_path):
    hub.tricks = [{}, {}, {"cut": 20_000}]
    folder = fetch_folder(minari_card)
    assert folder == tmp_path / "cache" / "downloads" / "minari" / "set" / "a" / "b-v0"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} == set(FILES)
    assert all((folder / name).read_bytes() == content for name, content in FILES.items())
    assert len(hub.asked) == 4
    assert fetch_folder(minari_card) == minari_folder(minari_card) == folder
    assert len(hub.asked) == 4


def test_a_folder_appears_only_when_all_its_files_are_right(minari_card, hub):
    hub.files[f"{FOLDER}/data/main_data.hdf5"] = CONTENT[:-1] + b"!"
    with pytest.raises(
        DatasetError, match=r"b-v0 data/main_data.hdf5' cannot be downloaded .* not the published"
    ):
        fetch_folder(minari_card)
    assert minari_folder(minari_card) is None
    hub.files[f"{FOLDER}/data/main_data.hdf5"] = CONTENT
    asked = len(hub.asked)
    fetch_folder(minari_card)
    assert [path for path, *_ in hub.asked[asked:]] == [API, f"{FOLDER}/data/main_data.hdf5"]


def test_files_without_a_published_checksum_keep_that_of_the_first_copy(minari_card, hub):
    folder = fetch_folder(minari_card)
    folder.rename(folder.with_name("away"))
    hub.files[f"{FOLDER}/data/metadata.json"] = b'{"total_episodes": 4}'
    with pytest.raises(DatasetError, match=r"metadata.json' .* checksum of the first copy"):
        fetch_folder(minari_card)


def test_minaris_own_folder_and_a_mirror_are_used_in_place(minari_card, hub, tmp_path, monkeypatch):
    for place in ("mirror", "minari"):
        folder = tmp_path / place / "set" / "a" / "b-v0"
        folder.mkdir(parents=True)
        monkeypatch.setenv("CQLBENCH_MIRROR", str(tmp_path / "mirror"))
        assert minari_folder(minari_card) != folder  # an empty folder is what a failed download leaves
        (folder / "data").mkdir()
        assert fetch_folder(minari_card) == folder
    assert hub.asked == []


def test_a_folder_from_a_mirror_that_is_an_address(minari_card, server, monkeypatch):
    monkeypatch.setenv("CQLBENCH_MIRROR", server.url("/mirror"))
    server.files |= {f"/mirror/set/a/b-v0/{name}": content for name, content in FILES.items()}
    assert (fetch_folder(minari_card) / "data" / "main_data.hdf5").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "listing",
    [b"<html>", b"[]", b"{}", b'[{"type": "file"}]', b"[3]", b'[{"type": "file", "path": "a", "size": "?"}]'],
)
def test_a_listing_that_is_none_is_one_sentence(minari_card, hub, listing):
    hub.files[API] = listing
    with pytest.raises(
        DatasetError, match=r"files of 'minari/set/a/b-v0' cannot be listed .* the answer is no listing"
    ) as e:
        fetch_folder(minari_card)
    assert "\n" not in str(e.value)


def test_a_hub_that_does_not_answer_is_one_sentence(minari_card, hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DatasetError, match=r"cannot be listed \(https://.*: the host cannot be reached"):
        fetch_folder(minari_card)
    hub.files.clear()
    monkeypatch.setenv("HF_ENDPOINT", hub.url(""))
    with pytest.raises(DatasetError, match=r"cannot be listed .*404 Client Error"):
        fetch_folder(minari_card)


def test_a_listing_does_not_lead_out_of_the_folder(minari_card, hub):
    hub.files[API] = b'[{"type": "file", "path": "a/b-v0/../../../evil", "size": 3}]'
    with pytest.raises(DatasetError, match="outside of its folder"):
        fetch_folder(minari_card)


def test_a_long_listing_comes_in_pages(minari_card, hub):
    first, second = json.loads(hub.files[API])[1:]
    hub.files[API], hub.files["/more"] = json.dumps([first]).encode(), json.dumps([second]).encode()
    hub.links[API] = hub.url("/more")
    assert (fetch_folder(minari_card) / "data" / "main_data.hdf5").is_file()


def test_a_folder_offline(minari_card, hub, monkeypatch):
    monkeypatch.setenv("CQLBENCH_OFFLINE", "1")
    with pytest.raises(DatasetError, match="no intact copy on this machine"):
        fetch_folder(minari_card)
    assert hub.asked == []
