"""Signatures of webhooks: what is accepted, what is not, and a value worked out by another program."""

from __future__ import annotations

import subprocess

import pytest

from paaplus.signatures import InvalidSignature, sign, verify

SECRET, BODY, AT = "whsec_x", b'{"id":"1"}', 1_700_000_000


def test_signature_is_hmac_sha256_of_time_and_body() -> None:
    by_openssl = subprocess.run(
        ["openssl", "dgst", "-sha256", "-hmac", SECRET, "-r"], input=f"{AT}.".encode() + BODY, capture_output=True
    ).stdout.split()[0]
    assert sign(SECRET, BODY, AT) == f"t={AT},v1={by_openssl.decode()}"


def test_right_signature_is_accepted_for_five_minutes_also_beside_one_of_an_older_secret() -> None:
    header = sign(SECRET, BODY, AT)
    verify(SECRET, header, BODY, now=AT + 299)
    verify(SECRET, f"{sign('old', BODY, AT)},{header.split(',')[1]}", BODY, now=AT)
    for now in (AT + 301, AT - 301):
        with pytest.raises(InvalidSignature, match="older than 300 s"):
            verify(SECRET, header, BODY, now=now)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "t=1",
        f"t={AT}",
        f"t={AT},v1=",
        f"t={AT},v1=é",
        f"t={AT + 1},{sign(SECRET, BODY, AT).split(',')[1]}",
        f"t={AT},{sign(SECRET, BODY, AT)}",
        f"t=-{AT},v1=00",
        f"t={'9' * 5000},v1=00",
        sign("other", BODY, AT),
        sign(SECRET, BODY + b" ", AT),
    ],
)
def test_anything_else_is_refused(header: str) -> None:
    with pytest.raises(InvalidSignature):
        verify(SECRET, header, BODY, now=AT)
