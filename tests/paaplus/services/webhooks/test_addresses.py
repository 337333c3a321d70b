"""Where a webhook may go: no inner service is reached through the platform, however it is written."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from paaplus.errors import InvalidInput, Unavailable
from paaplus.services.webhooks import addresses
from paaplus.services.webhooks.addresses import Target, target_of

INNER = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "192.0.0.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1", "64:ff9b::10.0.0.1",
    "64:ff9b:1::10.0.0.1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:7f00:1::",
]  # fmt: skip
OUTER = ["93.184.215.14", "1.1.1.1", "2606:4700:4700::1111", "64:ff9b::1.1.1.1"]


def resolving_to(monkeypatch: pytest.MonkeyPatch, *found: str) -> None:
    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("address", INNER)
def test_inner_address_is_refused_as_host_and_behind_a_name(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    host = f"[{address.partition('%')[0]}]" if ":" in address else address
    with pytest.raises(InvalidInput, match="no public address"):
        target_of(f"https://{host}/x", allow_private=False)
    resolving_to(monkeypatch, "1.1.1.1", address)  # one bad address among good ones is enough
    target = target_of("https://app.example/x", allow_private=False)
    with pytest.raises(InvalidInput, match="not public"):
        addresses.resolve(target, allow_private=False)
    assert addresses.resolve(target, allow_private=True) == ["1.1.1.1", address]


@pytest.mark.parametrize("address", OUTER)
def test_public_address_is_accepted(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving_to(monkeypatch, address)
    target = target_of(f"https://{f'[{address}]' if ':' in address else address}:8443/a?b=1", allow_private=False)
    assert (target.port, target.path) == (8443, "/a?b=1")
    assert addresses.resolve(target, allow_private=False) == [address]


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "localhost", "localhost."])
def test_other_spellings_of_this_machine_are_refused_at_once_and_when_they_are_resolved(host: str) -> None:
    with pytest.raises(InvalidInput, match="is no public address"):
        target_of(f"https://{host}/", allow_private=False)
    with pytest.raises(InvalidInput, match="is no public address"):
        target_of(f"https://{host.upper()}/", allow_private=False)
    if host != "localhost.":  # which needs a name server
        with pytest.raises(InvalidInput, match="not public"):
            addresses.resolve(Target("https", host, 443, "/"), allow_private=False)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://app.example/", "https://"),
        ("ftp://app.example/", "https://"),
        ("file:///etc/passwd", "https://"),
        ("//app.example/", "https://"),
        ("https://", "no host"),
        ("https://user:secret@app.example/", "no user"),
        ("https://app.example@10.0.0.1/", "no user"),
        ("https://app.example/#part", "fragment"),
        ("https://app.example:99999/", "malformed"),
        ("https://app.example:0/", "no host or no port"),
        ("https://app.example/ x", "printable"),
        ("https://app.example/\r\nX: 1", "printable"),
        ("https://app.example\\@10.0.0.1/", "printable"),
        ("https://прим.example/", "printable"),
        ("https://[::1", "malformed"),
        ("https://app.example/" + "a" * 2048, "printable"),
    ],
)
def test_malformed_or_misleading_url_is_refused(url: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        target_of(url, allow_private=False)


def test_private_addresses_and_http_are_for_who_allows_them() -> None:
    assert target_of("http://127.0.0.1:9/", allow_private=True) == Target("http", "127.0.0.1", 9, "/")


def test_name_without_an_address_may_have_one_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(Unavailable, match=r"app\.example has no address"):
        addresses.resolve(target_of("https://app.example/", allow_private=False), allow_private=False)
