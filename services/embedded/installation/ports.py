"""Free TCP ports on loopback."""

import itertools
import secrets
import socket
from collections.abc import Collection, Mapping

from services.common.errors import ConfigError

# Below the range from which the system takes the ports of outgoing connections: a
# client that keeps knocking at a dead server's port may otherwise be given that very
# port as its own, connect to itself, and keep the server from coming back.
_LOWEST, _HIGHEST = 20_000, 32_000
_TRIES = 1_000
LOOPBACK = "127.0.0.1"


def wished_host(environ: Mapping[str, str]) -> str:
    """The address of this machine that `TOCSIN_HOST` names for the gateways; loopback
    where it names none.

    Raises:
        ConfigError: it is no address of this machine.
    """
    host = environ.get("TOCSIN_HOST") or LOOPBACK
    try:
        found = str(socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError):
        found = ""
    if not found or not is_free(0, found):
        raise ConfigError(
            f"TOCSIN_HOST={host!r} is no address of this machine: set 127.0.0.1, ::1, 0.0.0.0 or an address "
            "that `ip addr` shows, or leave it out."
        )
    return found


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # or what has just closed still counts as taken
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def is_listening(port: int, host: str = LOOPBACK, timeout_s: float = 1.0) -> bool:
    """Whether a server accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s):
            return True
    except OSError:
        return False


def free_port(
    preferred: int = 0, *, taken: Collection[int] = (), count: int = 1, host: str = LOOPBACK
) -> int:
    """The preferred port if it is free and not among `taken`, else one drawn at random,
    so that two who look at once seldom meet; also where both were given the same seed.

    With a `count` it is the first of so many consecutive ones.

    Raises:
        OSError: a thousand ports were tried and none was free.
    """
    drawn = (_LOWEST + secrets.randbelow(_HIGHEST - _LOWEST + 1) for _ in range(_TRIES))
    for first in itertools.chain([preferred] if preferred else [], drawn):
        if all(port not in taken and is_free(port, host) for port in range(first, first + count)):
            return first
    raise OSError(f"no {count} free ports between {_LOWEST} and {_HIGHEST} on {host}")
