"""What a child process and its service tell each other: JSON with its length before it."""

import json
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

LENGTH_BYTES = 4
MAX_FRAME_BYTES = 64 * 1024 * 1024


def pack(message: Any) -> bytes:
    """A message with its length before it. JSON as ASCII: lone surrogates survive it."""
    body = json.dumps(message).encode("ascii")
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def serve(connection: socket.socket, answer: Callable[[Any], Any]) -> None:
    """Answers jobs until the service hangs up."""
    with connection, connection.makefile("rb") as incoming:
        while head := incoming.read(LENGTH_BYTES):
            body = incoming.read(int.from_bytes(head, "big"))
            connection.sendall(pack(answer(json.loads(body))))


def inherited_socket() -> socket.socket:
    """The socket whose number is on the command line. Signals that end the service are
    left to it: it drains first, and hangs up.
    """
    for ended_by in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ended_by, signal.SIG_IGN)
    return socket.socket(fileno=int(sys.argv[1]))
