"""Who is behind a connection that came through proxies.

A client may write anything into X-Forwarded-For. Each proxy appends whom it sees, so
the header is believed from its end, as far back as each proxy that it names is trusted.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence

from starlette.types import Scope

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK = "127.0.0.0/8,::1/128"
_IPV6_PREFIX = 64
"""One subscriber holds so much of the address space."""
_WITH_PORT = re.compile(r"\[([^\[\]]{2,45})\](?::\d{1,5})?|([\d.]{7,15}):\d{1,5}", re.ASCII)
_MOST_HOPS = 16


def parse_networks(value: str) -> tuple[Network, ...]:
    """Networks separated by commas.

    Raises:
        ValueError: one is no network; it is named.
    """
    return tuple(ipaddress.ip_network(one.strip()) for one in value.split(",") if one.strip())


def client_of(scope: Scope, trusted: Sequence[Network]) -> str:
    """The address of who made a request; empty where the connection has none."""
    peer = scope["client"][0] if scope.get("client") else ""
    return client_behind(peer, header_values(scope, b"x-forwarded-for"), trusted)


def client_behind(peer: str, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
    """The address behind a connection from `peer`: the last one that a trusted proxy
    saw and that is no trusted proxy itself.

    What cannot be read ends the look back: the proxy that named it stands for it.
    """
    client = _address(peer)
    if client is None:
        return peer
    hops = [part for value in forwarded_for for part in value.rsplit(",", _MOST_HOPS)]
    for hop in reversed(hops):
        if not is_trusted(client, trusted) or (before := _address(hop)) is None:
            break
        client = before
    return str(client)


def is_trusted(address: str | Address | None, trusted: Iterable[Network]) -> bool:
    """Whether an address is in one of these networks."""
    found = _address(address) if isinstance(address, str) else address
    return found is not None and any(found in network for network in trusted)


def client_network(address: str) -> str:
    """What counts as one client: an IPv4 address, or an IPv6 network of 64 bits."""
    found = _address(address)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(found), _IPV6_PREFIX), strict=False))
    return str(found or address)


def header_values(scope: Scope, name: bytes) -> list[str]:
    """A header's values, line by line."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _address(text: str) -> Address | None:
    """An address, with or without a port."""
    text = text.strip()
    if found := _WITH_PORT.fullmatch(text):
        text = found[1] or found[2]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):  # less its zone, which may be any text
        return address.ipv4_mapped or ipaddress.IPv6Address(int(address))
    return address
