"""Signatures of webhooks: HMAC-SHA256 over the time and the body, so that an old request cannot be sent again."""

from __future__ import annotations

import hmac
import time
from typing import Final

from paaplus.errors import InvalidInput

HEADER: Final = "Paaplus-Signature"
TOLERANCE_S: Final = 300.0


class InvalidSignature(InvalidInput):
    """A request is not from the holder of the secret, or it is too old."""

    code = "invalid_signature"


def sign(secret: str, body: bytes, at: int) -> str:
    """The value of the header: `t=SECONDS,v1=HEX`, the time in seconds since 1970."""
    return f"t={at},v1={_digest(secret, body, at)}"


def verify(
    secret: str, header: str, body: bytes, *, now: float | None = None, tolerance_s: float = TOLERANCE_S
) -> None:
    """Check the signature of a request that was received. `body` is the body's bytes as they came.

    Raises:
        InvalidSignature: the header is malformed, no signature in it is right, or its time is more than `tolerance_s`
            away from now.
    """
    pairs = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    if len(times) != 1 or len(times[0]) > 12 or not times[0].isascii() or not times[0].isdecimal():
        raise InvalidSignature(f"the header {HEADER} has no time")
    at = int(times[0])
    right = _digest(secret, body, at).encode()
    # All of them are compared: two may be given while a secret is replaced.
    same = [hmac.compare_digest(value.encode(), right) for name, _, value in pairs if name == "v1"]
    if not any(same):
        raise InvalidSignature("the signature is wrong")
    if abs((time.time() if now is None else now) - at) > tolerance_s:
        raise InvalidSignature(f"the signature is older than {tolerance_s:g} s, or from the future")


def _digest(secret: str, body: bytes, at: int) -> str:
    return hmac.new(secret.encode(), f"{at}.".encode() + body, "sha256").hexdigest()
