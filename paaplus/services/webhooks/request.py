"""One outgoing request: to a checked address, without redirects, bounded in time. The answer's body is not read."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress

from paaplus.errors import Unavailable
from paaplus.services.webhooks import addresses
from paaplus.services.webhooks.addresses import Target


def post(url: str, body: bytes, headers: Mapping[str, str], *, allow_private: bool, timeout_s: float) -> None:
    """Post a body.

    Raises:
        Unavailable: no answer of 2xx came in time; a redirect is such a failure too.
        InvalidInput: the URL leads to an address that is not public.
    """
    target = addresses.target_of(url, allow_private=allow_private)
    reached = addresses.resolve(target, allow_private=allow_private)
    error = Unavailable(f"{target.host} has no address")
    for address in reached[:2]:  # of two families, one may lead nowhere
        connection = _Checked(target, address, timeout_s)
        try:
            connection.connect()
        except (OSError, ssl.SSLError) as failed:
            error = Unavailable(f"{address}: {failed}")
            connection.close()
            continue
        _send(connection, target, body, headers, timeout_s)
        return
    raise error


class _Checked(http.client.HTTPConnection):
    """A connection to one address, under the name of the host that has it."""

    def __init__(self, target: Target, address: str, timeout_s: float) -> None:
        super().__init__(target.host, target.port, timeout=timeout_s)
        self._address = address
        self._tls = ssl.create_default_context() if target.scheme == "https" else None

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), self.timeout)
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host)


def _send(connection: _Checked, target: Target, body: bytes, headers: Mapping[str, str], timeout_s: float) -> None:
    def end() -> None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)

    # The socket's timeout is of one read: a receiver that sends a byte now and then would hold the thread forever.
    timer = threading.Timer(timeout_s, end)
    timer.daemon = True
    timer.start()
    try:
        connection.request("POST", target.path, body, dict(headers))
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"no answer: {type(error).__name__}: {error}") from None
    finally:
        timer.cancel()
        connection.close()
    if not 200 <= status < 300:
        what = "a redirect, which is not followed" if 300 <= status < 400 else "no success"
        raise Unavailable(f"answered {status}: {what}")
