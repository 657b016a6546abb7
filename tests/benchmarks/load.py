"""A load generator that costs little: HTTP/1.1 over kept connections, parsed by
httptools, on one thread.

It shares the machine with what it measures, so what it spends is taken from that;
aiohttp or httpx would spend several times as much.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httptools
import numpy as np


@dataclass
class Sample:
    """What a load measured; times in seconds from the sending of each request.

    `token_pieces` counts non-empty deltas of streams.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    first_pieces: list[float] = field(default_factory=list)
    tokens: int = 0
    errors: int = 0

    def summary(self) -> dict[str, float]:
        """Requests a second and percentiles in milliseconds."""
        found: dict[str, float] = {
            "requests": len(self.latencies),
            "errors": self.errors,
            "requests_per_s": len(self.latencies) / self.seconds,
        }
        found |= _percentiles("latency", self.latencies)
        if self.first_pieces:
            found |= _percentiles("ttft", self.first_pieces) | {"tokens_per_s": self.tokens / self.seconds}
        return {name: round(value, 2) for name, value in found.items()}


class _Connection(asyncio.Protocol):
    """One kept connection; one request at a time."""

    def __init__(self) -> None:
        self._done: asyncio.Future[None] | None = None
        self.first_s = 0.0
        self.body = bytearray()
        self.status = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def ask(self, payload: bytes) -> "asyncio.Future[None]":
        self._done = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self.first_s, self.body = 0.0, bytearray()
        self._transport.write(payload)
        return self._done

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(ConnectionError(str(exc or "closed")))

    def close(self) -> None:
        self._transport.close()

    # The parser calls these.

    def on_body(self, part: bytes) -> None:
        self.body += part
        if (
            not self.first_s
            and b'"content":"' in part
            and (b'"content":""' not in part or part.count(b'"content":"') > 1)
        ):
            self.first_s = time.perf_counter()

    def on_message_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self._done is not None and not self._done.done():
            self._done.set_result(None)


def payload(url: str, key: str, body: dict[str, Any]) -> bytes:
    """A POST to /v1/chat/completions as bytes."""
    parts, content = urlsplit(url), json.dumps(body).encode()
    head = (
        f"POST {parts.path.rstrip('/')}/chat/completions HTTP/1.1\r\nhost: "
        f"{parts.netloc}\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def load(
    url: str,
    key: str,
    body: dict[str, Any],
    *,
    in_flight: int,
    seconds: float,
    requests: int | None = None,
    keyed: bool = False,
    bodies: Callable[[int], dict[str, Any]] | None = None,
) -> Sample:
    """Keeps `in_flight` requests going for `seconds`, or until `requests` are answered;
    where they are `keyed`, each has an Idempotency-Key of its own. `bodies` gives each
    request, by its number, a body of its own instead of `body`.
    """
    parts, sample, message = urlsplit(url), Sample(), payload(url, key, body)
    first_line, rest = message.split(b"\r\n", 1)
    numbers = itertools.count()
    began_s = time.perf_counter()
    end_s = began_s + seconds
    left = [requests if requests is not None else 1 << 60]

    async def keep_asking() -> None:
        _, connection = await asyncio.get_running_loop().create_connection(
            _Connection, parts.hostname, parts.port
        )
        try:
            while time.perf_counter() < end_s and left[0] > 0:
                left[0] -= 1
                name = b"idempotency-key: %s\r\n" % uuid4().hex.encode() if keyed else b""
                asking = first_line + b"\r\n" + name + rest
                await _ask_once(
                    connection, asking if bodies is None else payload(url, key, bodies(next(numbers))), sample
                )
        finally:
            connection.close()

    await asyncio.gather(*(keep_asking() for _ in range(in_flight)))
    sample.seconds = time.perf_counter() - began_s
    return sample


async def _ask_once(connection: _Connection, message: bytes, sample: Sample) -> None:
    asked_s = time.perf_counter()
    await asyncio.wait_for(connection.ask(message), 120)
    if connection.status != 200 or b'"error":' in connection.body[-2000:]:
        sample.errors += 1
        return
    sample.latencies.append(time.perf_counter() - asked_s)
    if connection.first_s:
        sample.first_pieces.append(connection.first_s - asked_s)
    found = connection.body.rfind(b'"completion_tokens":')
    if found >= 0:
        sample.tokens += int(connection.body[found + 20 : found + 32].split(b",")[0].split(b"}")[0])


def _percentiles(name: str, seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    p50, p95, p99 = np.percentile(np.array(seconds) * 1000, [50, 95, 99])
    return {f"{name}_p50_ms": float(p50), f"{name}_p95_ms": float(p95), f"{name}_p99_ms": float(p99)}
