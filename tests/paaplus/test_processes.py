"""Addresses of the platform's processes: IPv4, IPv6, names, taken ports."""

from __future__ import annotations

import socket

import pytest

from paaplus.errors import Unavailable
from paaplus.processes import url_of, usable_port


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="needs IPv6")
HOSTS = ["127.0.0.1", "0.0.0.0", "localhost", *(pytest.param(host, marks=needs_ipv6) for host in ("::1", "::"))]


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000"),
        ("::", "http://[::]:8000"),
        ("localhost", "http://localhost:8000"),
    ],
)
def test_url_has_brackets_around_ipv6(host: str, url: str) -> None:
    assert url_of(host, 8000) == url


@pytest.mark.parametrize("host", HOSTS)
def test_free_port_is_chosen_on_every_kind_of_address(host: str) -> None:
    port = usable_port(host, 0)
    assert port > 0
    assert usable_port(host, port) == port


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_taken_port_is_told_with_its_address(host: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as taken:
        taken.bind((host, 0))
        taken.listen()
        port = taken.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        with pytest.raises(Unavailable) as error:
            usable_port(host, port)
    assert str(error.value).startswith(f"cannot listen on {shown}:{port}: ")
    assert "--port" in str(error.value)


def test_host_without_an_address_is_told() -> None:
    with pytest.raises(Unavailable, match="choose another address"):
        usable_port("no-such-host.invalid", 8000)


def test_address_that_this_machine_does_not_have_is_no_matter_of_the_port() -> None:
    with pytest.raises(Unavailable, match="choose another address"):
        usable_port("192.0.2.1", 8000)  # of documentation (RFC 5737)
