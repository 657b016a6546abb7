"""A reply stream's steps as server-sent events on an open connection."""

from collections.abc import Iterable, Mapping
from typing import Protocol

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from schemas.inference import End, InferenceRequested, Piece
from services.common.http.problems import Problem
from services.common.process import metrics
from services.gateway.http.request_input import watched_for_leaving
from services.gateway.openai.chunks import ChunkWriter, EventId, error_frame, frame, unplaced_frame
from services.gateway.openai.responses.writer import Event, ResponseWriter
from services.gateway.streams.queue_positions import QueuePosition
from services.gateway.streams.registry import StreamRegistry
from services.gateway.streams.reply_stream import ReplyStream
from services.gateway.streams.state import Phase

HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
KEEP_ALIVE = b": keep-alive\n"
"""No blank line: some clients take a comment of its own for an empty event."""

_QUEUE_NEWS_S = 1.0


class Blocks(Protocol):
    """How a stream is written."""

    def opening(self) -> bytes:
        """What goes out before anything was heard."""

    def of(self, pieces: tuple[Piece, ...], end: End | None, offset: int) -> bytes:
        """What a record at `offset` adds."""

    def failed(self, problem: Problem) -> bytes:
        """The end of a stream that the log did not end."""


class ChunkBlocks:
    """The chunks of chat and text completions.

    `after` is the last block that the client has. Blocks that are not `placed` have no
    id: the log does not have them.
    """

    def __init__(
        self, request: InferenceRequested, after: EventId | None = None, *, placed: bool = True
    ) -> None:
        self._writer = ChunkWriter(
            request.request_id, request.kind, request.model, include_usage=request.include_usage
        )
        self._partition = request.reply_to.partition
        self._after = after
        self._placed = placed

    def opening(self) -> bytes:
        """Nothing: the first chunk comes with the first piece."""
        return b""

    def of(self, pieces: tuple[Piece, ...], end: End | None, offset: int) -> bytes:
        """The record's blocks, each with its place in the log."""
        if not self._placed:
            return b"".join(map(unplaced_frame, self._writer.payloads(pieces, end)))
        return b"".join(
            frame(payload, self._partition, offset, chunk)
            for chunk, payload in enumerate(self._writer.payloads(pieces, end))
            if self._after is None or EventId(self._partition, offset, chunk) > self._after
        )

    def failed(self, problem: Problem) -> bytes:
        """One block without a place."""
        return error_frame(problem)


class ResponseBlocks:
    """Writes what `ResponseWriter` tells; see `Blocks`.

    Without ids: a stream is taken up as the chat that it is, whose events are others.
    """

    def __init__(self, writer: ResponseWriter) -> None:
        self._writer = writer

    def opening(self) -> bytes:
        """Before anything was heard."""
        return _blocks(self._writer.opening())

    def of(self, pieces: tuple[Piece, ...], end: End | None, offset: int) -> bytes:
        """What a record adds."""
        del offset
        return _blocks(self._writer.events(pieces, end))

    def failed(self, problem: Problem) -> bytes:
        """The end of a stream that the log did not end."""
        return _blocks(self._writer.failure(problem))


def _blocks(events: Iterable[Event]) -> bytes:
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event)) for event in events
    )


class EventStream(Response):
    """Writes a stream until it ends, the client leaves, or the gateway gives up."""

    media_type = "text/event-stream"

    def __init__(
        self,
        reply_stream: ReplyStream,
        registry: StreamRegistry,
        blocks: Blocks,
        *,
        window_s: float,
        keep_alive_s: float,
        began: float,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(headers={**HEADERS, **(headers or {})})
        del self.headers["content-length"]
        self._reply_stream = reply_stream
        self._registry = registry
        self._window_s = window_s
        self._keep_alive_s = keep_alive_s
        self._began = began
        self._blocks = blocks
        self._told: QueuePosition | None = None
        self._commented_at = began

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves the stream. The reply stream is given back whatever happens."""
        try:
            with watched_for_leaving(receive, self._reply_stream, after_s=0.0):
                await send(
                    {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
                )
                if opening := self._blocks.opening():
                    await send({"type": "http.response.body", "body": opening, "more_body": True})
                await self._write(send)
        finally:
            self._registry.release(self._reply_stream, window_s=self._window_s)

    async def _write(self, send: Send) -> None:
        reply_stream, first = self._reply_stream, True
        while True:
            arrivals = await reply_stream.take(self._patience_s())
            body = b"".join([self._blocks.of(one.pieces, one.end, one.offset) for one in arrivals])
            if first and body:
                first = False
                metrics.GATEWAY_TTFT_SECONDS.labels(reply_stream.request.model).observe(
                    self._registry.monotonic() - self._began
                )
            if any(arrival.end for arrival in arrivals):
                await send({"type": "http.response.body", "body": body})
                return
            if reply_stream.left:
                return
            if reply_stream.problem is not None:
                await send(
                    {"type": "http.response.body", "body": body + self._blocks.failed(reply_stream.problem)}
                )
                return
            if comment := self._comment() if not arrivals else b"":
                await send({"type": "http.response.body", "body": comment, "more_body": True})
            elif body:
                await send({"type": "http.response.body", "body": body, "more_body": True})

    def _patience_s(self) -> float:
        waiting = self._reply_stream.state.phase is Phase.WAITING
        return min(_QUEUE_NEWS_S, self._keep_alive_s) if waiting else self._keep_alive_s

    def _comment(self) -> bytes:
        """Something for a stream that was silent: where it stands in the queue, or
        else, now and then, that the connection is alive.
        """
        request, now = self._reply_stream.request, self._registry.monotonic()
        place = (
            self._registry.queue_positions.place_of(request.request_id, request.model)
            if self._reply_stream.state.phase is Phase.WAITING
            else None
        )
        if place is not None and place != self._told:
            self._told, self._commented_at = place, now
            eta = "" if place.eta_ms is None else f" eta_ms={place.eta_ms:.0f}"
            return f": queue position={place.position}{eta}\n".encode()
        if now - self._commented_at < self._keep_alive_s:
            return b""
        self._commented_at = now
        return KEEP_ALIVE
