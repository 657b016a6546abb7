"""Looks after every request that this gateway follows: silence, deadlines, clients that
left, ends that may have to be told again.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from schemas.errors import ErrorCode, RetryReason
from schemas.inference import InferenceRequested, LogPosition, RetryNeeded
from schemas.topics import requests_topic
from services.common import metrics
from services.common.clock import Clock, MonotonicClock
from services.common.http.problems import unavailable
from services.gateway.bus.monitor import BusMonitor
from services.gateway.bus.publisher import RequestPublisher
from services.gateway.http.problems import not_in_time
from services.gateway.settings import Settings
from services.gateway.streams.queue_positions import QueuePositions
from services.gateway.streams.reader import ReplyReader
from services.gateway.streams.reply_stream import ReplyStream
from services.gateway.streams.state import Phase

log = structlog.get_logger(__name__)

_TICK_S = 0.25
_AFTERLIFE_S = 10.0
"""How long an ended request is remembered: a dispatcher that lost its end asks for it
within a few seconds.
"""
_PATIENCE_S = 0.5
"""A stream that waits longer is told where it stands."""
_GRACE = timedelta(seconds=1)
"""The dispatcher, which also knows the deadline, gets the first word."""


@dataclass
class StreamRegistry:
    """Every reply stream of this gateway with the reader that feeds it."""

    settings: Settings
    publisher: RequestPublisher
    bus_monitor: BusMonitor
    queue_positions: QueuePositions
    clock: Clock
    monotonic: MonotonicClock
    _readers: dict[ReplyStream, ReplyReader] = field(default_factory=dict, init=False)
    _serving: set[ReplyStream] = field(default_factory=set, init=False)
    _leaving: dict[ReplyStream, float] = field(default_factory=dict, init=False)
    _ended: deque[tuple[float, ReplyStream]] = field(default_factory=deque, init=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    @property
    def serving(self) -> int:
        """How many clients are being served."""
        return len(self._serving)

    @property
    def followed(self) -> int:
        """How many requests are followed that have not ended, with or without a client."""
        return len(self._serving) + len(self._leaving)

    def require_room(self) -> None:
        """Passes while there is room for another request.

        Raises:
            ProblemError: 503, there is none.
        """
        if self.followed >= self.settings.max_in_flight:
            raise unavailable(
                f"This gateway already serves {self.settings.max_in_flight} requests. Try again.",
                code=ErrorCode.OVERLOADED,
            )

    def follow(
        self,
        request: InferenceRequested,
        reader: ReplyReader,
        *,
        traceparent: str | None = None,
        replaying: bool = False,
    ) -> ReplyStream:
        """A new reply stream of a request, which hears from now on what its reader
        reads.
        """
        reply_stream = ReplyStream(
            request,
            max_attempts=self.settings.max_attempts,
            max_buffered_bytes=self.settings.max_buffered_bytes,
            now=self.monotonic(),
            next_attempt=self._ask_again,
            traceparent=traceparent,
            replaying=replaying,
        )
        self._readers[reply_stream] = reader
        self._serving.add(reply_stream)
        metrics.GATEWAY_FOLLOWED.set(len(self._serving))
        reader.add(reply_stream)
        return reply_stream

    def forget(self, reply_stream: ReplyStream) -> None:
        """Nothing came of the request: it is followed no more."""
        if self._stop_serving(reply_stream):
            self._drop(reply_stream)

    def release(self, reply_stream: ReplyStream, *, window_s: float = 0.0) -> None:
        """The client has its answer, or has left.

        A request that goes on without it is cancelled after `window_s`, unless the
        client reattached meanwhile.
        """
        if not self._stop_serving(reply_stream):
            return
        reply_stream.mute()
        self._leaving[reply_stream] = self.monotonic() + window_s
        self._part_with(reply_stream, self.monotonic())

    def fail_all(self, message: str) -> None:
        """Ends every client's answer.

        Streams go on in the log, for their clients to reattach to; what was to come in
        one piece is cancelled.
        """
        for reply_stream in list(self._serving):
            reply_stream.taken = reply_stream.request.stream
            reply_stream.fail(unavailable(message, code=ErrorCode.GATEWAY_STOPPING).problem)

    async def idle(self) -> None:
        """Waits until no client is served."""
        while self._serving:
            self._changed.clear()
            await self._changed.wait()

    async def run(self) -> None:
        """Looks after them all four times a second, until cancelled."""
        while True:
            self.tick()
            await asyncio.sleep(_TICK_S)

    def tick(self) -> None:
        """Looks after them all once."""
        now = self.monotonic()
        for reply_stream in list(self._serving):
            self._look_after(reply_stream, now)
        self.queue_positions.want(
            wanted=any(self._waits_visibly(reply_stream, now) for reply_stream in self._serving)
        )
        for reply_stream in list(self._leaving):
            self._look_after(reply_stream, now)
            self._part_with(reply_stream, now)
        while self._ended and self._ended[0][0] <= now:
            self._drop(self._ended.popleft()[1])

    def _waits_visibly(self, reply_stream: ReplyStream, now: float) -> bool:
        return (
            reply_stream.state.phase is Phase.WAITING
            and reply_stream.request.stream
            and now - reply_stream.heard_at > _PATIENCE_S
        )

    def _look_after(self, reply_stream: ReplyStream, now: float) -> None:
        phase = reply_stream.state.phase
        if (
            phase is Phase.RUNNING
            and now - max(reply_stream.heard_at, self.bus_monitor.steady_since) > self.settings.silence_s
        ):
            self._report_silence(reply_stream, now)
        elif (
            phase is Phase.WAITING
            and reply_stream.problem is None
            and self.clock() > reply_stream.request.deadline + _GRACE
        ):
            waited_s = (reply_stream.request.deadline - reply_stream.request.requested_at).total_seconds()
            reply_stream.fail(not_in_time(waited_s))

    def _report_silence(self, reply_stream: ReplyStream, now: float) -> None:
        """Writes the silence into the log, where every reply stream of the request
        reads it.
        """
        reply_stream.heard_at = now
        request = reply_stream.request
        origin = reply_stream.origin or LogPosition(
            topic=requests_topic(request.model, request.lane), partition=0, offset=-1
        )
        silence = RetryNeeded(
            request_id=request.request_id,
            tenant=request.tenant,
            attempt=reply_stream.state.attempt,
            reason=RetryReason.SILENCE,
            origin=origin,
        )
        log.warning(
            "replica_silent",
            request_id=request.request_id,
            attempt=reply_stream.state.attempt,
            replica_id=reply_stream.state.replica_id,
        )
        self.publisher.tell_reply_streams(request.reply_to, silence, request.tenant)

    def _ask_again(self, reply_stream: ReplyStream, request: InferenceRequested, reason: str) -> None:
        metrics.GATEWAY_ATTEMPTS.labels(RetryReason.of(reason)).inc()
        log.info("next_attempt", request_id=request.request_id, attempt=request.attempt, reason=reason)

        def acknowledged(position: LogPosition) -> None:
            if reply_stream.state.attempt == request.attempt:
                reply_stream.origin = position

        self.publisher.ask_again(request, reply_stream.traceparent, acknowledged)

    def _part_with(self, reply_stream: ReplyStream, now: float) -> None:
        """Follows a request without a client for as long as there is reason to."""
        if reply_stream.ended:
            del self._leaving[reply_stream]
            self._ended.append((now + _AFTERLIFE_S, reply_stream))
            return
        expired = reply_stream.problem is not None and reply_stream.problem.status == 504
        if reply_stream.taken or expired or now >= self._leaving[reply_stream]:
            del self._leaving[reply_stream]
            if not reply_stream.taken:
                self.publisher.cancel(
                    reply_stream.request,
                    reply_stream.problem.code if reply_stream.problem else ErrorCode.CLIENT_LEFT,
                )
            self._drop(reply_stream)

    def _stop_serving(self, reply_stream: ReplyStream) -> bool:
        if reply_stream not in self._serving:
            return False
        self._serving.remove(reply_stream)
        metrics.GATEWAY_FOLLOWED.set(len(self._serving))
        self._changed.set()
        return True

    def _drop(self, reply_stream: ReplyStream) -> None:
        self._readers.pop(reply_stream).remove(reply_stream)
