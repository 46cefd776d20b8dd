"""A real HTTP server on loopback that misbehaves as a test asks."""

import contextlib
import http.server
import re
import threading


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` (path -> bytes).

    Attributes:
        tricks: one dictionary per coming answer; then it behaves. Keys: `status`, `redirect` (instead of the
            file), `cut` (bytes after which the connection closes), `stall` (it goes silent there instead),
            `silent` (from the start), `length` (Content-Length given; `None`: none),
            `start` (where a range really starts).
        asked: (path, Range, If-Range) of every request.
        resumes: whether it knows ranges.
        tag: ETag; empty: none.
        links: path -> the address of the next page.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.tricks, self.asked = {}, [], []
        self.links = {}
        self.resumes, self.tag, self.released = True, "", threading.Event()

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}{path}"

    @property
    def ranges(self):
        return [header for _, header, _ in self.asked]


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(200)
        self.end_headers()

    def do_GET(self):
        server = self.server
        server.asked.append((self.path, self.headers.get("Range"), self.headers.get("If-Range")))
        trick = server.tricks.pop(0) if server.tricks else {}
        if trick.get("silent"):
            server.released.wait(20)
        elif "redirect" in trick:
            self.send_response(302)
            self.send_header("Location", trick["redirect"])
            self.end_headers()
        elif "status" in trick or self.path not in server.files:
            self.send_error(trick.get("status", 404))
        else:
            self._send(server.files[self.path], trick)

    def _send(self, body, trick):
        start = 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if wanted and self.server.resumes and self.headers.get("If-Range") in (None, self.server.tag):
            start = trick.get("start", int(wanted[1]))
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        rest = body[start:]
        if (length := trick.get("length", len(rest))) is not None:
            self.send_header("Content-Length", str(length))
        if self.path in self.server.links:
            self.send_header("Link", f'<{self.server.links[self.path]}>; rel="next"')
        if self.server.tag:
            self.send_header("ETag", self.server.tag)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(rest[: trick.get("cut", len(rest))])
        if trick.get("stall"):
            self.server.released.wait(20)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()
