"""Connecting to addresses that a URL of the configuration, or of a tenant, leads to.

What is refused is decided on the address that is connected to, each time a connection is
opened: a name that is public when it is looked at, and private a moment later (DNS
rebinding), is refused like a private address.
"""

import errno
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import aiohttp
from pydantic import AfterValidator, Field

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SPECIAL = tuple(
    ipaddress.ip_network(one)
    for one in ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "3fff::/20", "5f00::/16")
)
"""Of the IANA registries of special addresses, what Pythons before 3.13 take for public;
192.0.0.192 has a cloud's metadata.
"""


class AddressRefusedError(OSError):
    """An address that is not public, and not allowed either."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.EACCES, message)


def parse_networks(text: str) -> tuple[Network, ...]:
    """Networks and addresses, separated by commas.

    Raises:
        ValueError: one is neither.
    """
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            found.append(ipaddress.ip_network(part))
        except ValueError as error:
            raise ValueError(f"{error}; write networks such as 10.0.0.0/8,127.0.0.1") from error
    return tuple(found)


def _are_networks(text: str) -> str:
    parse_networks(text)
    return text


EgressAllowed = Annotated[
    str,
    AfterValidator(_are_networks),
    Field(
        description="Networks that are not public and may be connected to all the same, separated by commas, "
        "as 10.1.0.0/16,127.0.0.1: where an upstream or the identity provider is in one. Empty: none."
    ),
]
"""The setting that `Egress.of` reads."""


@dataclass(frozen=True)
class Egress:
    """Public addresses, and those in `allowed` networks, may be connected to."""

    allowed: tuple[Network, ...] = ()

    @classmethod
    def of(cls, text: str) -> "Egress":
        """From the setting.

        Raises:
            ValueError: it names no networks.
        """
        return cls(parse_networks(text))

    def connector(self, **options: Any) -> aiohttp.TCPConnector:
        """A connector that opens no other connections; options are aiohttp's."""
        return aiohttp.TCPConnector(socket_factory=self._socket, **options)

    def require(self, address: str) -> None:
        """Does nothing where an IP address may be connected to.

        Raises:
            AddressRefusedError: it may not, or is none; the message says how to allow it.
        """
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError as error:
            raise AddressRefusedError(f"{address!r} is no IP address") from error
        if self._allows(found) or all(self._allows(one) or _is_public(one) for one in _meanings(found)):
            return
        raise AddressRefusedError(
            f"{found} is not a public address; an operator may allow its network by TOCSIN_EGRESS_ALLOWED"
        )

    def _allows(self, address: Address) -> bool:
        return any(address.version == one.version and address in one for one in self.allowed)

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, where = address
        self.require(str(where[0]))
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made


def _meanings(address: Address) -> Iterable[Address]:
    """The addresses that a connection to this one may come to: of an IPv6 address that
    stands for IPv4 ones (mapped, NAT64, 6to4, Teredo) those.
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return (address.ipv4_mapped,)
        if address in _NAT64:
            return (ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF),)
        inner = (address.sixtofour, *(address.teredo or ()))
        return (address, *(one for one in inner if one is not None))
    return (address,)


def _is_public(address: Address) -> bool:
    is_local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    is_special = address.is_multicast or address.is_reserved or address.is_unspecified
    is_listed = any(address.version == one.version and address in one for one in _SPECIAL)
    return address.is_global and not (is_local or is_special or is_listed)
