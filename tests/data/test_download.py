import hashlib
import socket

import numpy as np
import pytest
from hostile_server import serving

from cqlbench.core.errors import DatasetError
from cqlbench.data import download as download_module
from cqlbench.data.download import Wanted, download

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(download_module.time, "sleep", lambda _: None)
    with serving() as running:
        running.files["/a"] = CONTENT
        yield running


@pytest.fixture
def wanted(server):
    return Wanted("tiny", (server.url("/a"),), len(CONTENT), SHA256)


@pytest.fixture
def unpublished(server):
    return Wanted("tiny", (server.url("/a"),))


@pytest.fixture
def target(tmp_path):
    return tmp_path / "a.hdf5"


def starts(server):
    return [0 if header is None else int(header[len("bytes=") : -1]) for header in server.ranges]


def get(wanted, target):
    download(wanted, target)
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_whole_and_without_leftovers(wanted, server, target):
    get(wanted, target)
    assert server.ranges == [None]


def test_a_cut_connection_goes_on_where_it_stopped(wanted, server, target):
    server.tricks = [{"cut": 1_200_000}, {"cut": 900_000}]
    get(wanted, target)
    first, second, third = starts(server)
    assert first == 0 < second <= 1_200_000 < third <= 2_100_000


def test_many_cuts_are_no_failure_as_long_as_it_gets_on(wanted, server, target):
    server.tricks = [{"cut": 200_000}] * 12
    get(wanted, target)


def test_it_gives_up_without_progress_and_a_later_call_goes_on(wanted, server, target):
    server.tricks = [{"cut": 500_000}, *[{"cut": 0}] * 4]
    with pytest.raises(DatasetError, match=r"cannot be downloaded .* cut the connection"):
        download(wanted, target)
    assert not target.exists()
    assert len(server.asked) == 5
    get(wanted, target)
    assert starts(server)[-1] > 0


def test_a_server_without_ranges_starts_again(wanted, server, target):
    server.resumes = False
    server.tricks = [{"cut": 1_200_000}]
    get(wanted, target)


def test_a_range_that_starts_elsewhere_is_not_appended(wanted, server, target):
    server.tricks = [{"cut": 1_200_000}, {"start": 7}]
    get(wanted, target)
    assert len(server.asked) == 3


@pytest.mark.parametrize("length", [1_000_000, None])
def test_a_length_that_is_too_small_or_missing(wanted, server, target, length):
    server.tricks = [{"length": length, "cut": 1_000_000}]
    get(wanted, target)
    assert starts(server) == [0, 1_000_000]


def test_a_length_that_is_too_large(wanted, server, target):
    server.tricks = [{"length": 4_000_000}]
    get(wanted, target)


def test_a_file_that_ends_early_for_good(wanted, server, target):
    server.files["/a"] = CONTENT[:1_000_000]
    for server.resumes in (True, False):
        with pytest.raises(DatasetError, match=r"'tiny' cannot be .* it stopped at 1000000 of 3000000 bytes"):
            download(wanted, target)
        assert not target.exists()


def test_wrong_bytes_are_refused_and_removed(wanted, server, target):
    server.files["/a"] = CONTENT[:-1] + b"!"
    with pytest.raises(DatasetError, match=r"it has 3000000 bytes and sha256 \w{12}…, not the published 3"):
        download(wanted, target)
    assert list(target.parent.iterdir()) == []


def test_too_many_bytes_are_refused(wanted, server, target):
    server.files["/a"] = CONTENT + b"!"
    with pytest.raises(DatasetError, match="it has 3000001 bytes"):
        download(wanted, target)


def test_wrong_bytes_of_an_earlier_call_are_thrown_away(wanted, server, target):
    target.with_name("a.hdf5.part").write_bytes(b"?" * 1_000_000)
    get(wanted, target)
    assert starts(server) == [1_000_000, 0]


@pytest.mark.parametrize("size", [3_000_000, 4_000_000])
def test_an_earlier_part_that_is_as_long_or_longer(wanted, server, target, size):
    target.with_name("a.hdf5.part").write_bytes(b"?" * size)
    get(wanted, target)
    assert starts(server) == [0]


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_trouble_that_passes_is_waited_for(wanted, server, target, status):
    server.tricks = [{"status": status}] * 3
    get(wanted, target)


def test_the_next_address_is_asked_at_once_where_the_file_is_missing(wanted, server, target):
    other = server.url("/missing")
    get(Wanted("tiny", (other, *wanted.urls), wanted.bytes, wanted.sha256), target)
    assert [path for path, *_ in server.asked] == ["/missing", "/a"]
    with pytest.raises(DatasetError, match="/missing: 404 Client Error"):
        download(Wanted("tiny", (other,)), target)


def test_the_next_address_is_asked_where_the_bytes_are_wrong(wanted, server, target):
    server.files["/b"] = b"<html>" * 500_000
    get(Wanted("tiny", (server.url("/b"), *wanted.urls), wanted.bytes, wanted.sha256), target)


def test_a_silent_server_is_left_and_gone_on_with(wanted, server, target, monkeypatch):
    monkeypatch.setattr(download_module, "TIMEOUT", (1.0, 0.2))
    server.tricks = [{"cut": 1_000_000, "stall": True}]
    get(wanted, target)
    assert 0 < starts(server)[1] <= 1_000_000
    server.tricks = [{"cut": 0, "stall": True}] * 4
    with pytest.raises(DatasetError, match="the host does not answer"):
        download(wanted, target.with_name("b"))
    server.tricks = [{"silent": True}] * 4
    before = len(starts(server))
    with pytest.raises(DatasetError, match="the host does not answer"):
        download(wanted, target.with_name("c"))
    assert len(starts(server)) == before + 2  # nobody waits four times for a host that never says a word


def test_redirects_are_followed_but_not_for_ever(wanted, server, target):
    server.tricks = [{"redirect": "/b"}]
    server.files["/b"] = CONTENT
    get(wanted, target)
    server.tricks = [{"redirect": "/a"}] * 40
    with pytest.raises(DatasetError, match="Exceeded 30 redirects") as caught:
        download(wanted, target.with_name("b"))
    assert "\n" not in str(caught.value)


def test_a_closed_port_is_one_sentence(server, target):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/a"
    with pytest.raises(DatasetError, match="the host cannot be reached") as caught:
        download(Wanted("tiny", (url,)), target)
    assert "\n" not in str(caught.value)


def test_without_a_checksum_an_unchanged_file_is_gone_on_with(unpublished, server, target):
    server.tag = '"1"'
    server.tricks = [{"cut": 1_000_000}]
    get(unpublished, target)
    assert 0 < starts(server)[1] <= 1_000_000


def test_without_a_checksum_pieces_of_two_files_are_never_joined(unpublished, server, target):
    server.tag = '"1"'
    server.tricks = [{"cut": 1_000_000}]
    server.files["/a"] = b"?" * 3_000_000
    with pytest.MonkeyPatch.context() as patch:

        def change(_):
            server.files["/a"], server.tag = CONTENT, '"2"'

        patch.setattr(download_module.time, "sleep", change)
        get(unpublished, target)
    target.unlink()
    server.tag = ""
    server.tricks = [{"cut": 1_000_000}]
    target.with_name("a.hdf5.part").write_bytes(b"?" * 1_000)
    get(unpublished, target)
    assert starts(server)[-2:] == [0, 0]


def test_proxies_are_honoured(server, wanted, target, monkeypatch):
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("http_proxy", server.url(""))
    server.files["http://example.invalid/a"] = CONTENT
    get(Wanted("tiny", ("http://example.invalid/a",), wanted.bytes, wanted.sha256), target)


def test_progress_is_told(wanted, target, capfd):
    download(wanted, target)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[-1].startswith("tiny: 3,000,000/3,000,000 bytes, ")


def test_without_a_checksum_an_earlier_calls_bytes_are_not_trusted(unpublished, server, target):
    target.with_name("a.hdf5.part").write_bytes(b"?" * len(CONTENT))
    get(Wanted("tiny", unpublished.urls, len(CONTENT)), target)
    assert starts(server) == [0]
