"""A process that reads prompts for a gateway: what holds Python's lock, or takes long,
happens here, beside the streams.

It has no secrets in its environment, reads jobs from one socket, and ends when the
gateway does.
"""

import json
import os
import signal
import socket
import sys
import time
from typing import Any

from services.common.control.thresholds import Thresholds
from services.gateway.admission.inspection.reading import Judgement
from services.gateway.admission.inspection.screener import Screener

LENGTH_BYTES = 4
MAX_FRAME_BYTES = 64 * 1024 * 1024
_NICE = 5
"""Streams go first: on saturated cores a worker gets a third of what a gateway gets."""


def pack(message: dict[str, Any]) -> bytes:
    """A message with its length before it. JSON as ASCII: lone surrogates survive it."""
    body = json.dumps(message).encode("ascii")
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def answer(screener: Screener, job: dict[str, Any]) -> dict[str, Any]:
    """What a job asks for; of texts to be judged as many as there is time for, but one
    at least.
    """
    thresholds = Thresholds(*job["thresholds"])
    if job["kind"] == "screen":
        return {
            "read": [
                screener.read(text, thresholds)._replace(suspicion=screener.suspicion(text))
                for text in job["texts"]
            ]
        }
    judged: list[Judgement] = []
    until_s = time.monotonic() + job["within_s"]
    for text in job["texts"]:
        if judged and time.monotonic() >= until_s:
            break
        judged.append(screener.judge(text, thresholds))
    return {"read": judged}


def serve(connection: socket.socket, screener: Screener) -> None:
    """Answers jobs until the gateway hangs up."""
    with connection, connection.makefile("rb") as incoming:
        connection.sendall(pack({"versions": screener.versions}))
        while head := incoming.read(LENGTH_BYTES):
            body = incoming.read(int.from_bytes(head, "big"))
            connection.sendall(pack(answer(screener, json.loads(body))))


def main() -> None:
    """Reads the number of its socket from the command line, and serves it."""
    for ended_by in (signal.SIGINT, signal.SIGTERM):  # the gateway drains first
        signal.signal(ended_by, signal.SIG_IGN)
    os.nice(_NICE)
    serve(socket.socket(fileno=int(sys.argv[1])), Screener.load(with_model=True))


if __name__ == "__main__":
    main()
