"""A process that reads prompts for a gateway: what holds Python's lock, or takes long,
happens here, beside the streams.

It has no secrets in its environment, reads jobs from one socket, and ends when the
gateway does.
"""

import functools
import os
import socket
import time
from typing import Any

from services.common.control.thresholds import Thresholds
from services.common.process.child.frames import inherited_socket, pack, serve
from services.gateway.admission.inspection.reading import Judgement
from services.gateway.admission.inspection.screener import Screener

_NICE = 5
"""Streams go first: on saturated cores a worker gets a third of what a gateway gets."""


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


def serve_jobs(connection: socket.socket, screener: Screener) -> None:
    """Says its versions, then answers jobs until the gateway hangs up."""
    connection.sendall(pack({"versions": screener.versions}))
    serve(connection, functools.partial(answer, screener))


def main() -> None:
    """Serves the socket that it was started with."""
    connection = inherited_socket()
    os.nice(_NICE)
    serve_jobs(connection, Screener.load(with_model=True))


if __name__ == "__main__":
    main()
