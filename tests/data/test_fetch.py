import hashlib
import http.server
import re
import socket
import threading
from dataclasses import replace

import numpy as np
import pytest

from cqlbench.data import fetch as fetch_module
from cqlbench.data.cards import Card
from cqlbench.data.fetch import fetch, reachable
from cqlbench.errors import DatasetError

CONTENT = np.random.default_rng(0).bytes(3_000_000)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.content`; `server.cuts` are byte counts after which one answer each breaks off."""

    def do_HEAD(self):
        self.send_response(200)
        self.end_headers()

    def do_GET(self):
        self.server.ranges.append(self.headers.get("Range"))
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.server.failures:
            self.server.failures -= 1
            self.send_error(503)
            return
        start = 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if wanted and self.server.resumes:
            start = int(wanted[1])
            self.send_response(206)
            total = len(self.server.content)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        else:
            self.send_response(200)
        body = self.server.content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else len(body)
        self.wfile.write(body[:cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("CQLBENCH_OFFLINE", "0")
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(fetch_module.time, "sleep", lambda _: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.content, running.cuts, running.ranges = CONTENT, [], []
        running.resumes, running.failures = True, 0
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def card(server):
    return Card(
        id="d4rl/tiny-v0",
        source="d4rl",
        urls=(f"http://127.0.0.1:{server.server_port}/tiny.hdf5",),
        bytes=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )


def leftovers(path):
    return [
        other.name for other in path.parent.iterdir() if not other.name.endswith(".lock") and other != path
    ]


def test_downloads_once(card, server, tmp_path):
    path = fetch(card)
    assert path == tmp_path / "cache" / "downloads" / "d4rl" / "tiny-v0.hdf5"
    assert path.read_bytes() == CONTENT
    assert leftovers(path) == []
    assert fetch(card) == path
    assert len(server.ranges) == 1


def test_cut_connection_goes_on_where_it_stopped(card, server):
    server.cuts = [1_200_000, 900_000]
    assert fetch(card).read_bytes() == CONTENT
    assert server.ranges[0] is None
    resumed = [int(header.removeprefix("bytes=").rstrip("-")) for header in server.ranges[1:]]
    assert len(resumed) == 2
    assert 0 < resumed[0] <= 1_200_000 < resumed[1] <= 2_100_000


def test_a_later_call_goes_on_where_an_earlier_one_stopped(card, server):
    server.cuts = [500_000] * 4
    with pytest.raises(DatasetError, match="cannot be downloaded"):
        fetch(card)
    assert fetch(card).read_bytes() == CONTENT
    assert server.ranges[-1] not in (None, "bytes=0-")


def test_server_without_ranges_starts_again(card, server):
    server.resumes = False
    server.cuts = [1_200_000]
    assert fetch(card).read_bytes() == CONTENT


def test_wrong_bytes_are_refused_and_removed(card, server, tmp_path):
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(DatasetError, match="not the published 3000000 and"):
        fetch(card)
    assert [path.name for path in (tmp_path / "cache" / "downloads" / "d4rl").iterdir()] in (
        ["tiny-v0.hdf5.lock"],
        [],
    )


def test_too_many_bytes_are_refused(card, server):
    server.content = CONTENT + b"!"
    with pytest.raises(DatasetError, match="it has 3000001 bytes"):
        fetch(card)


def test_server_error_is_tried_again(card, server):
    server.failures = 2
    assert fetch(card).read_bytes() == CONTENT


def test_second_address(card, server):
    missing = f"http://127.0.0.1:{server.server_port}/missing"
    assert fetch(replace(card, urls=(missing, *card.urls))).read_bytes() == CONTENT
    assert len(server.ranges) == 2
    with pytest.raises(DatasetError, match="404"):
        fetch(replace(card, id="d4rl/other-v0", urls=(missing,)))


def test_unreachable_host(card):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    unreachable = replace(card, urls=(f"http://127.0.0.1:{port}/a.hdf5",))
    assert not reachable(unreachable)
    with pytest.raises(DatasetError, match="the host cannot be reached") as caught:
        fetch(unreachable)
    assert "\n" not in str(caught.value)


def test_reachable(card, monkeypatch):
    assert reachable(card)
    monkeypatch.setenv("CQLBENCH_OFFLINE", "1")
    assert not reachable(card)


def test_offline(card, server, monkeypatch):
    monkeypatch.setenv("CQLBENCH_OFFLINE", "1")
    with pytest.raises(DatasetError, match="no intact copy on this machine; unset CQLBENCH_OFFLINE"):
        fetch(card)
    assert server.ranges == []


def test_file_in_d4rls_folder_is_used_in_place(card, server, tmp_path):
    (tmp_path / "d4rl").mkdir()
    theirs = tmp_path / "d4rl" / "tiny.hdf5"
    theirs.write_bytes(CONTENT)
    assert fetch(card) == theirs
    assert server.ranges == []
    theirs.write_bytes(CONTENT[:-1] + b"!")
    assert fetch(card) != theirs


def test_card_without_file():
    with pytest.raises(DatasetError, match="its card has no urls"):
        fetch(Card(id="minari/a-v0", source="minari"))


def test_cache_cannot_be_written(card, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CQLBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DatasetError, match="set CQLBENCH_CACHE"):
        fetch(card)


def test_two_at_once_download_once(card, server):
    paths = []
    threads = [threading.Thread(target=lambda: paths.append(fetch(card))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 3
    assert len(server.ranges) == 1
