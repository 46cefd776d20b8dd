"""Processes of the command in `tiny_world.py`, forked from one that has paid for the imports.

    python forked.py serve SOCKET FOLDER WORDS…
    python -S forked.py SOCKET VERB …

The second is a command as any other: its standard streams, environment, folder and exit status are those of
the process that is forked for it. It passes SIGTERM on, and if it is killed, that process is.
"""

import contextlib
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Self

_SIZE = 20
"""Bytes of an answer: a process's id, and later its exit status."""


class Forked:
    """A command in a forked process, with some of the methods of `subprocess.Popen`."""

    def __init__(self, server: str, words: list[str], output: int, **environment: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(server)
        asked = {"words": words, "environment": os.environ | environment, "folder": str(Path.cwd())}
        socket.send_fds(self._socket, [json.dumps(asked).encode() + b"\n"], [output])
        self.pid = int(self._socket.recv(_SIZE, socket.MSG_WAITALL))
        self._status: int | None = None

    def poll(self) -> int | None:
        """Its exit status, if it has ended."""
        ended = self._status is not None or select.select([self._socket], [], [], 0)[0]
        return self.wait() if ended else None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, as of `Popen`."""
        if self._status is None:
            assert select.select([self._socket], [], [], timeout)[0], "it takes too long"
            self._status = int(self._socket.recv(_SIZE, socket.MSG_WAITALL))
            self._socket.close()
        return self._status

    def kill(self) -> None:
        """End it at once."""
        os.kill(self.pid, signal.SIGKILL)


class Server:
    """Forks; a context manager. `words`: the settings of what is forked later."""

    def __init__(self, folder: Path, words: list[str]) -> None:
        self.path = str(folder / "forked.socket")
        command = [sys.executable, __file__, "serve", self.path, str(folder), *words]
        with (folder / "forked.out").open("w") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)

    def __enter__(self) -> Self:
        while not Path(self.path).exists():
            assert self._process.poll() is None
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def serve(path: str, folder: Path, words: list[str]) -> None:
    import ray  # noqa: F401 (drivers need it)
    import tiny_world

    tiny_world.enter(folder, "-S", __file__, path)
    # What is done once is done now: late imports, composing, collecting the dataset.
    tiny_world.run(folder, ["paper", *words, "seeds=1", f"results={folder / 'warm'}"])
    if (threads := Path("/proc/self/task")).is_dir():  # they do not survive a fork
        names = {(thread / "comm").read_text().strip() for thread in threads.iterdir()}
        assert len(names - {"jemalloc_bg_thd"}) == 1, names  # pyarrow's, which it starts again
    listener, selector = socket.socket(socket.AF_UNIX), selectors.DefaultSelector()
    listener.bind(f"{path}.new")
    listener.listen()
    selector.register(listener, selectors.EVENT_READ)
    Path(f"{path}.new").rename(path)
    clients: dict[int, socket.socket] = {}
    while True:
        for key, _ in selector.select(0.02):
            if key.fileobj is listener:
                client = listener.accept()[0]
                with contextlib.suppress(OSError):  # of a client that was killed just then
                    pid = fork(client, folder, [listener, selector, client, *clients.values()])
                    clients[pid] = client
                    selector.register(client, selectors.EVENT_READ, pid)
                    client.sendall(f"{pid:{_SIZE}}".encode())
            else:  # who asked for it was killed
                os.kill(key.data, signal.SIGKILL)
                selector.unregister(key.fileobj)
        while clients and (ended := os.waitpid(-1, os.WNOHANG))[0]:
            client = clients.pop(ended[0])
            if client.fileno() in selector.get_map():
                selector.unregister(client)
                with contextlib.suppress(OSError):
                    client.sendall(f"{os.waitstatus_to_exitcode(ended[1]):{_SIZE}}".encode())
            client.close()


def fork(client: socket.socket, folder: Path, others: list[Any]) -> int:
    """A process for what a client asks for, to which `others` are closed; returns its id."""
    import tiny_world

    said, files, *_ = socket.recv_fds(client, 1 << 20, 1)
    while not said.endswith(b"\n"):
        more = client.recv(1 << 20)
        if not more:
            raise ConnectionError
        said += more
    (output,) = files
    asked = json.loads(said)
    if child := os.fork():
        os.close(output)
        return child
    status = 1
    try:
        for stream in (1, 2):
            os.dup2(output, stream)
        for each in others:
            each.close()
        os.environ.clear()
        os.environ.update(asked["environment"])
        os.chdir(asked["folder"])
        status = tiny_world.run(folder, asked["words"])
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 (a child of fork must not go on in the parent's code)
        traceback.print_exc()
    os._exit(status)


def ask(server: str, words: list[str]) -> int:
    """Be the command: pass on what happens to it."""
    process = Forked(server, words, 1)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(process.pid, signal.SIGTERM))
    status = process.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
    sys.exit(ask(sys.argv[1], sys.argv[2:]))
