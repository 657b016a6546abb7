"""A reply stream's steps as server-sent events on an open connection."""

from collections.abc import Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.common.process import metrics
from services.gateway.http.request_input import watched_for_leaving
from services.gateway.openai.chunks import ChunkWriter, EventId, error_frame, frame
from services.gateway.streams.queue_positions import Place
from services.gateway.streams.registry import StreamRegistry
from services.gateway.streams.reply_stream import Arrival, ReplyStream
from services.gateway.streams.state import Phase

HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
KEEP_ALIVE = b": keep-alive\n"
"""No blank line: some clients take a comment of its own for an empty event."""

_QUEUE_NEWS_S = 1.0


class EventStream(Response):
    """Writes a stream until it ends, the client leaves, or the gateway gives up.

    `after` is the last block that the client has.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        reply_stream: ReplyStream,
        registry: StreamRegistry,
        *,
        window_s: float,
        keep_alive_s: float,
        began: float,
        after: EventId | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(headers={**HEADERS, **(headers or {})})
        del self.headers["content-length"]
        self._reply_stream = reply_stream
        self._registry = registry
        self._window_s = window_s
        self._keep_alive_s = keep_alive_s
        self._began = began
        self._after = after
        self._told: Place | None = None
        self._commented_at = began
        request = reply_stream.request
        self._writer = ChunkWriter(
            request.request_id, request.kind, request.model, include_usage=request.include_usage
        )
        self._partition = request.reply_to.partition

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves the stream. The reply stream is given back whatever happens."""
        try:
            with watched_for_leaving(receive, self._reply_stream, after_s=0.0):
                await send(
                    {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
                )
                await self._write(send)
        finally:
            self._registry.release(self._reply_stream, window_s=self._window_s)

    async def _write(self, send: Send) -> None:
        reply_stream, first = self._reply_stream, True
        while True:
            arrivals = await reply_stream.take(self._patience_s())
            body = b"".join(self._blocks(arrivals))
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
                await send({"type": "http.response.body", "body": body + error_frame(reply_stream.problem)})
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

    def _blocks(self, arrivals: list[Arrival]) -> list[bytes]:
        blocks = []
        for arrival in arrivals:
            for chunk, payload in enumerate(self._writer.payloads(arrival.pieces, arrival.end)):
                if self._after is None or EventId(self._partition, arrival.offset, chunk) > self._after:
                    blocks.append(frame(payload, self._partition, arrival.offset, chunk))
        return blocks
