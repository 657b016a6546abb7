"""Slows down whoever keeps trying keys. Pure; time is an argument.

A key's secret has 256 bits, so guessing is hopeless anyway; this keeps it from costing
anything, and shows it in the metrics.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_IPV6_PREFIX = 64
"""One subscriber holds so much of the address space."""


@dataclass
class LoginThrottle:
    """Counts failures by client.

    After `free` of them each further try has to wait, twice as long each time, up to
    `longest_s`; after `forget_s` without one a client begins anew. Remembers the latest
    `capacity` clients that failed.
    """

    free: int = 5
    longest_s: float = 60.0
    forget_s: float = 900.0
    capacity: int = 4096
    _failures: "OrderedDict[str, tuple[int, float]]" = field(default_factory=OrderedDict, init=False)

    def wait_s(self, client: str, now_s: float) -> float:
        """Seconds until this client may try again; 0 where it may now."""
        count, last_s = self._failures.get(client, (0, now_s))
        if count < self.free or now_s - last_s >= self.forget_s:
            return 0.0
        pause_s = min(2.0 ** min(count - self.free, 30), self.longest_s)
        return max(0.0, last_s + pause_s - now_s)

    def failed(self, client: str, now_s: float) -> None:
        """Counts a failure."""
        count, last_s = self._failures.pop(client, (0, now_s))
        if now_s - last_s >= self.forget_s:
            count = 0
        self._failures[client] = (count + 1, now_s)
        while len(self._failures) > self.capacity:
            self._failures.popitem(last=False)

    def succeeded(self, client: str) -> None:
        """Forgets a client's failures."""
        self._failures.pop(client, None)


def client_of(peer: str, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
    """Who is behind a connection, as the throttle counts: an IPv4 address, or an IPv6
    network of 64 bits.

    `forwarded_for` (its last entry is what the nearest proxy saw) is believed as far
    back as each proxy that it names is one of `trusted`.
    """
    chain = [*(part.strip() for value in forwarded_for for part in value.split(",")), peer]
    client = peer
    for hop in reversed(chain):
        address = _address(hop)
        if address is None:
            break
        client = hop
        if not any(address in network for network in trusted):
            break
    address = _address(client)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(address), _IPV6_PREFIX), strict=False))
    return str(address or client)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
