"""A TCP proxy in front of the database or broker, which can break connections or stop answering."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Final

CHUNK_BYTES: Final = 2**16


class Proxy:
    """Forwards connections from a port of its own to `host:port`."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._flowing = threading.Event()
        self._flowing.set()
        self.port = 0
        self.restore()

    def restore(self) -> None:
        """Forward again, on the same port."""
        self._flowing.set()
        if self._listener is not None:
            return
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def cut(self) -> None:
        """Break every connection and refuse new ones: the server seems to have died."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept()
            listener.close()
        self.break_connections()

    def break_connections(self) -> None:
        """Break every connection, accept new ones: the server seems to have been restarted."""
        with self._lock:
            open_now, self._open = self._open, set()
        for end in open_now:
            _close(end)

    def silence(self) -> None:
        """Accept connections and bytes, and pass nothing on: the server seems to hang."""
        self._flowing.clear()

    def close(self) -> None:
        self.cut()
        self._flowing.set()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return  # cut
            try:
                far = socket.create_connection(self._target, timeout=10)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            with self._lock:
                self._open |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                self._flowing.wait()
                sink.sendall(data)
        for end in (source, sink):
            _close(end)
        with self._lock:
            self._open -= {source, sink}


def _close(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)  # closing alone would not wake a thread that reads it
    with suppress(OSError):
        end.close()
