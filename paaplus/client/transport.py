"""How calls become requests of the HTTP library, for both clients."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import httpx2

from paaplus.client.calls import Answer, Call, Lost
from paaplus.errors import InvalidInput

TIMEOUT_S: Final = 60.0
UPLOADS_AT_ONCE: Final = 4


def options(url: str, key: str, timeout_s: float) -> dict[str, Any]:
    """What both clients of the HTTP library are made with. Redirects are not followed: they would get the key.

    Raises:
        InvalidInput: it is no URL of http or https, or the key is none.
    """
    if not url.startswith(("http://", "https://")):
        raise InvalidInput(f"the URL must begin with http:// or https://, got {url!r}")
    key = key.strip()  # as a file has it, with a line end
    if not (key.isascii() and key.isprintable() and key) or " " in key:  # without it: errors are logged
        raise InvalidInput("the API key is empty, or has characters that no key has")
    try:
        ours = version("paaplus")
    except PackageNotFoundError:  # a checkout that was not installed
        ours = "unknown"
    headers = {"Authorization": f"Bearer {key}", "User-Agent": f"paaplus-python/{ours}"}
    return {"base_url": url.rstrip("/"), "headers": headers, "timeout": timeout_s, "follow_redirects": False}


def arguments(call: Call, timeout_s: float) -> dict[str, Any]:
    """Keyword arguments of the HTTP library's `request`."""
    given: dict[str, Any] = {"headers": dict(call.headers), "timeout": httpx2.Timeout(timeout_s + call.waits_s)}
    if call.query:
        given["params"] = dict(call.query)
    if call.file is not None:
        given["files"] = {"file": call.file}
        given["data"] = dict(call.form)
    elif call.json is not None:
        given["json"] = call.json
    return given


def answered(response: httpx2.Response) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, response.content)


def lost(error: httpx2.HTTPError) -> Lost:
    return Lost(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
