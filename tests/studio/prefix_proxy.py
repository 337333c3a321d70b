"""A reverse proxy that shows a server under a path prefix, and takes the prefix off or leaves it."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import urlsplit

HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "host"})


class PrefixProxy(ThreadingHTTPServer):
    """`strays`: paths outside of the prefix that a browser asked for."""

    daemon_threads = True

    def __init__(self, upstream: str, prefix: str, *, strips: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.prefix, self.strips = urlsplit(upstream), prefix, strips
        self.strays: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}{prefix}"


class _Handler(BaseHTTPRequestHandler):
    server: PrefixProxy

    def do_GET(self) -> None:
        prefix = self.server.prefix
        if not self.path.startswith(f"{prefix}/"):
            self.server.strays.append(self.path)
            self.send_error(404)
            return
        path = self.path.removeprefix(prefix) if self.server.strips else self.path
        upstream = http.client.HTTPConnection(
            self.server.upstream.hostname or "", self.server.upstream.port, timeout=300
        )
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
        try:  # with the host of the server behind it, as nginx does by itself
            upstream.request(self.command, path, body or None, headers)
            answer = upstream.getresponse()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in HOP:
                    self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            while part := answer.read1(65_536):  # a stream goes through as it comes
                self.wfile.write(part)
                self.wfile.flush()
        except OSError:  # the browser or the server has gone
            self.close_connection = True
        finally:
            upstream.close()

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def proxy(upstream: str, prefix: str, *, strips: bool) -> Iterator[PrefixProxy]:
    """A running proxy."""
    made = PrefixProxy(upstream, prefix, strips=strips)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        made.server_close()
        thread.join(60)
