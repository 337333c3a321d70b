"""Where a webhook may go: which URLs, and which addresses, so that nobody reaches inner services through the platform.

A name is resolved once, every address that it has is checked, and the connection goes to a checked address. So a name
that resolves otherwise a moment later (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from paaplus.errors import InvalidInput, Unavailable

MAX_URL: Final = 2048
PORTS: Final = {"https": 443, "http": 80}
# IPv6 networks whose addresses hold an IPv4 address in their last 32 bits: RFC 4291, RFC 6052, RFC 8215.
_LAST_BITS: Final = tuple(map(ipaddress.IPv6Network, ("::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")))

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Target:
    """The parts of a webhook's URL. `path` has the query."""

    scheme: str
    host: str
    port: int
    path: str


def target_of(url: str, *, allow_private: bool) -> Target:
    """The parts of a URL, if a webhook may have it. Nothing is resolved.

    Raises:
        InvalidInput: it may not; the message says why.
    """
    if len(url) > MAX_URL or not url.isascii() or any(not "!" <= sign <= "~" or sign == "\\" for sign in url):
        raise InvalidInput(f"the URL must be printable ASCII without spaces and backslashes, up to {MAX_URL}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise InvalidInput(f"the URL {url!r} is malformed: {error}") from None
    schemes = ("https", "http") if allow_private else ("https",)
    if parts.scheme not in schemes:
        raise InvalidInput(f"the URL must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}, got {url!r}")
    if "@" in parts.netloc:
        raise InvalidInput("the URL must have no user and no password: deliveries are signed instead")
    if parts.fragment or url.endswith("#"):
        raise InvalidInput("the URL must have no fragment (#...)")
    if not host or port == 0:
        raise InvalidInput(f"the URL {url!r} names no host or no port")
    if not allow_private and _is_private(host):
        raise InvalidInput(f"{host} is no public address")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or PORTS[parts.scheme], path)


def resolve(target: Target, *, allow_private: bool) -> list[str]:
    """The addresses of a target's host, all of them checked.

    Raises:
        Unavailable: the name has no address now.
        InvalidInput: one of its addresses is not public.
    """
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"{target.host} has no address: {error}") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for text in addresses:
        address = _as_address(text)
        if not allow_private and (address is None or not is_public(address)):
            raise InvalidInput(f"{target.host} has address {text}, which is not public")
    return addresses


def is_public(address: Address) -> bool:
    """Whether an address, and every IPv4 address inside of it, belongs to the public internet."""
    return address.is_global and not address.is_multicast and all(is_public(inner) for inner in _inside(address))


def _is_private(host: str) -> bool:
    """Whether a host is written as an address that is not public, or as this machine's name (RFC 6761).

    A resolver also reads the old forms `127.1`, `0x7f.1` and `2130706433` as addresses.
    """
    name = host.rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _as_address(name)
    if address is None:
        try:
            address = ipaddress.IPv4Address(socket.inet_aton(name))
        except OSError:
            return False
    return not is_public(address)


def _inside(address: Address) -> Iterator[Address]:
    """IPv4 addresses that an IPv6 address leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return
    if any(address in network for network in _LAST_BITS):
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo


def _as_address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])  # without the interface of fe80::1%eth0
    except ValueError:
        return None
