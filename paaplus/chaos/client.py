"""The HTTP calls of the traffic. Each returns a status, or `NO_ANSWER` if the connection broke."""

from __future__ import annotations

import http.client
import json
import secrets
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any, Final

TIMEOUT_S: Final = 45.0  # longer than a writer waits for SQLite's lock
NO_ANSWER: Final = 0  # the connection broke: the request may or may not have been done


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and a JSON body; `NO_ANSWER` and None if the connection broke."""

    status: int
    body: Any

    @property
    def is_in_doubt(self) -> bool:
        """True if only a repeated request can tell what happened."""
        return self.status in (NO_ANSWER, 429, 503)


class Client:
    """HTTP calls with one API key."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}"}

    def call(self, method: str, path: str, body: Any = None) -> Answer:
        data = json.dumps(body).encode() if body is not None else None
        return self._send(method, path, data, {"Content-Type": "application/json"})

    def upload(self, name: str, data: bytes) -> Answer:
        """Post an image file as a multipart form."""
        boundary = secrets.token_hex(16)
        disposition = f'Content-Disposition: form-data; name="file"; filename="{name}"'
        form = f"--{boundary}\r\n{disposition}\r\nContent-Type: image/png\r\n\r\n".encode() + data
        form += f"\r\n--{boundary}--\r\n".encode()
        return self._send("POST", "/v1/images", form, {"Content-Type": f"multipart/form-data; boundary={boundary}"})

    def _send(self, method: str, path: str, data: bytes | None, headers: dict[str, str]) -> Answer:
        request = urllib.request.Request(self._url + path, data, self._headers | headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                return Answer(response.status, _json(response.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, _json(error.read()))
        except (OSError, http.client.HTTPException):
            return Answer(NO_ANSWER, None)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None
