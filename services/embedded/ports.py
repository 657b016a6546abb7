"""Free TCP ports on loopback."""

import itertools
import random
import socket
from collections.abc import Collection

# Below the range from which the system takes the ports of outgoing connections: a
# client that keeps knocking at a dead server's port may otherwise be given that very
# port as its own, connect to itself, and keep the server from coming back.
_LOWEST, _HIGHEST = 20_000, 32_000
_TRIES = 1_000


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # or what has just closed still counts as taken
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def is_listening(port: int, host: str = "127.0.0.1", timeout_s: float = 1.0) -> bool:
    """Whether a server accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s):
            return True
    except OSError:
        return False


def free_port(
    preferred: int = 0, *, taken: Collection[int] = (), count: int = 1, host: str = "127.0.0.1"
) -> int:
    """The preferred port if it is free and not among `taken`, else one drawn at random,
    so that two who look at once seldom meet.

    With a `count` it is the first of so many consecutive ones.

    Raises:
        OSError: a thousand ports were tried and none was free.
    """
    drawn = (random.randint(_LOWEST, _HIGHEST) for _ in range(_TRIES))  # noqa: S311 (no secret)
    for first in itertools.chain([preferred] if preferred else [], drawn):
        if all(port not in taken and is_free(port, host) for port in range(first, first + count)):
            return first
    raise OSError(f"no {count} free ports between {_LOWEST} and {_HIGHEST} on {host}")
