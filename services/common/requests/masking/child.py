"""A process that inspects long texts, beside a service that must not stand still
meanwhile.

It has no settings and no secrets, is asked on one socket, and ends when the service
does. Values leave it only towards the service that asked.
"""

import json
import signal
import socket
import sys
from typing import Any

from services.common.requests.masking.sensitive_texts import Found, Hidden, Inspected, inspect
from services.detection.masking import Vault

LENGTH_BYTES = 4
MAX_FRAME_BYTES = 64 * 1024 * 1024


def pack(message: Any) -> bytes:
    """A message with its length before it. JSON as ASCII: lone surrogates survive it."""
    body = json.dumps(message).encode("ascii")
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def to_json(inspected: Inspected) -> list[Any]:
    """An inspection's result, as the process tells it."""
    identities = [[*key, placeholder] for key, placeholder in inspected.vault.by_identity.items()]
    return [inspected.texts, dict(inspected.vault.values), identities, inspected.found]


def from_json(told: list[Any]) -> Inspected:
    """The result again."""
    texts, values, identities, found = told
    vault = Vault(values, {(name, canonical): placeholder for name, canonical, placeholder in identities})
    return Inspected(tuple(texts), vault, tuple([tuple([Found(*one) for one in some]) for some in found]))


def serve(connection: socket.socket) -> None:
    """Answers jobs until the service hangs up."""
    with connection, connection.makefile("rb") as incoming:
        while head := incoming.read(LENGTH_BYTES):
            job = json.loads(incoming.read(int.from_bytes(head, "big")))
            connection.sendall(pack(to_json(inspect(job["texts"], Hidden(job["hidden"])))))


def main() -> None:
    """Reads the number of its socket from the command line, and serves it."""
    for ended_by in (signal.SIGINT, signal.SIGTERM):  # the service drains first
        signal.signal(ended_by, signal.SIG_IGN)
    serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
