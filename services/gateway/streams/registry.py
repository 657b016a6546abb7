"""Keeps every request that this gateway follows: those with a client, those whose client
has left, and those that ended a moment ago.

What becomes of them where no record tells, `watchdog.py` judges.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from schemas.errors import ErrorCode, RetryReason
from schemas.inference import InferenceRequested, LogPosition
from services.common.clock import MonotonicClock
from services.common.errors import RecordTooLargeError
from services.common.http.problems import Problem, ProblemError, retry_after, unavailable
from services.common.process import metrics
from services.gateway.bus.publisher import RequestPublisher
from services.gateway.settings import Settings
from services.gateway.streams.admitted import Admitted
from services.gateway.streams.measurements import RequestMeasurements
from services.gateway.streams.output_filter.opening import output_filter_of
from services.gateway.streams.queue_positions import QueuePositions
from services.gateway.streams.reader import ReplyReader
from services.gateway.streams.reply_stream import ReplyStream
from services.gateway.streams.tenant_slots import Slot, TenantSlots

log = structlog.get_logger(__name__)

_AFTERLIFE_S = 10.0
"""How long an ended request is remembered: a dispatcher that lost its end asks for it
within a few seconds.
"""


@dataclass(frozen=True, slots=True)
class Departure:
    """A client left at `left_at`, and may come back until `due` (monotonic seconds)."""

    left_at: float
    due: float


@dataclass(frozen=True, slots=True)
class _Remembered:
    until: float
    reply_stream: ReplyStream
    size_bytes: int


@dataclass
class StreamRegistry:
    """Every reply stream of this gateway with the reader that feeds it."""

    settings: Settings
    publisher: RequestPublisher
    queue_positions: QueuePositions
    monotonic: MonotonicClock
    share_of: Callable[[str], float] = lambda _tenant: 1.0
    """By which a tenant's part of the requests in flight is weighed."""
    _room: TenantSlots = field(init=False)
    _measurements: RequestMeasurements = field(default_factory=RequestMeasurements, init=False)
    _departed: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _readers: dict[ReplyStream, ReplyReader] = field(default_factory=dict, init=False)
    _serving: set[ReplyStream] = field(default_factory=set, init=False)
    _leaving: dict[ReplyStream, Departure] = field(default_factory=dict, init=False)
    _ended: deque[_Remembered] = field(default_factory=deque, init=False)
    _ended_bytes: int = field(default=0, init=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def __post_init__(self) -> None:
        self._room = TenantSlots(self.settings.max_in_flight)

    @property
    def serving(self) -> int:
        """How many clients are being served."""
        return len(self._serving)

    @property
    def followed(self) -> int:
        """How many places are taken: by requests that were let in and have not ended, with
        or without a client. One that is kept for its client to come back is among them.
        """
        return self._room.total

    @property
    def served(self) -> Sequence[ReplyStream]:
        """The streams that have a client."""
        return list(self._serving)

    @property
    def departures(self) -> Sequence[tuple[ReplyStream, Departure]]:
        """The streams whose client has left."""
        return list(self._leaving.items())

    def reader_of(self, reply_stream: ReplyStream) -> ReplyReader:
        """The reader that feeds a stream."""
        return self._readers[reply_stream]

    def take_slots(self, tenant: str, count: int = 1) -> list[Slot]:
        """Takes places for so many more requests of a tenant, all or none.

        Raises:
            ProblemError: 503, there is none; 429, the tenant has its share, and others
                ask, too.
        """
        may_take = self._room.may_take(tenant, self.monotonic(), weight=self.share_of(tenant), count=count)
        if not self._room.has_room(count):
            raise unavailable(
                f"This gateway serves {self._room.total} of at most {self.settings.max_in_flight} requests, "
                f"and {count} more do not fit. Try again.",
                code=ErrorCode.OVERLOADED,
            )
        if not may_take:
            metrics.LIMITS_REFUSED.labels("tenant", "share").inc()
            raise _has_its_share(self._room.taken_by(tenant), self.settings.max_in_flight)
        return [self._room.take(tenant) for _ in range(count)]

    def follow(
        self,
        admitted: Admitted,
        reader: ReplyReader,
        *,
        traceparent: str | None = None,
        replaying: bool = False,
    ) -> ReplyStream:
        """A new reply stream of a request, which hears from now on what its reader
        reads. What was taken for it is settled when it is followed no more.
        """
        reply_stream = ReplyStream(
            admitted,
            max_attempts=self.settings.max_attempts,
            max_buffered_bytes=self.settings.max_buffered_bytes,
            now=self.monotonic(),
            next_attempt=self._ask_again,
            traceparent=traceparent,
            replaying=replaying,
            output_filter=output_filter_of(admitted.request, self.settings.key_pepper.get_secret_value()),
            on_cut=self._stop,
        )
        self._readers[reply_stream] = reader
        self._serving.add(reply_stream)
        metrics.LLM_ACTIVE_REQUESTS.set(len(self._serving))
        reader.add(reply_stream)
        return reply_stream

    def forget(self, reply_stream: ReplyStream) -> None:
        """Nothing came of the request: it is followed no more."""
        if self._stop_serving(reply_stream):
            self.drop(reply_stream)

    def release(self, reply_stream: ReplyStream, *, window_s: float = 0.0) -> None:
        """The client has its answer, or has left.

        A request that goes on without it is cancelled after `window_s`, unless the
        client reattached meanwhile.
        """
        if not self._stop_serving(reply_stream):
            return
        reply_stream.mute()
        now = self.monotonic()
        self._measurements.served(reply_stream, now)
        self._leaving[reply_stream] = Departure(now, now + window_s)
        if reply_stream.taken and not reply_stream.ended:
            self.drop(reply_stream)
        elif reply_stream.ended:
            self.remember(reply_stream, now)
        else:
            self._departed.set()

    def remember(self, reply_stream: ReplyStream, now: float) -> None:
        """The request has ended: it is followed a little longer, while memory allows."""
        self._leaving.pop(reply_stream, None)
        reply_stream.settle()
        size_bytes = reply_stream.size_bytes()
        self._ended.append(_Remembered(now + _AFTERLIFE_S, reply_stream, size_bytes))
        self._ended_bytes += size_bytes
        while self._ended_bytes > self.settings.max_remembered_bytes:
            metrics.GATEWAY_FORGOTTEN_EARLY.inc()
            self._forget_oldest()

    def forget_ended(self, now: float) -> None:
        """Follows no more what ended long enough ago."""
        while self._ended and self._ended[0].until <= now:
            self._forget_oldest()

    def drop(self, reply_stream: ReplyStream) -> None:
        """Follows a request no more; dropping it again changes nothing."""
        self._leaving.pop(reply_stream, None)
        reply_stream.settle()
        reader = self._readers.pop(reply_stream, None)
        if reader is not None:
            reader.remove(reply_stream)

    def fail_all(self, message: str) -> None:
        """Ends every client's answer.

        Streams, and what has an idempotency key, go on in the log, for their clients to
        come back to; what else was to come in one piece is cancelled when the watchdog
        closes.
        """
        for reply_stream in self.served:
            if reply_stream.request.stream or reply_stream.recorded:
                reply_stream.give_away()
            reply_stream.fail(unavailable(message, code=ErrorCode.GATEWAY_STOPPING).problem)

    def settle_all(self) -> None:
        """The gateway stops: nothing stays reserved for what it follows."""
        for reply_stream in self._readers:
            reply_stream.settle()

    async def wait_for_departure(self, timeout_s: float) -> bool:
        """Waits until a client leaves before its request has ended; False where none
        did in time.
        """
        try:
            await asyncio.wait_for(self._departed.wait(), timeout_s)
        except TimeoutError:
            return False
        self._departed.clear()
        return True

    async def idle(self) -> None:
        """Waits until no client is served."""
        while self._serving:
            self._changed.clear()
            await self._changed.wait()

    def _ask_again(self, reply_stream: ReplyStream, request: InferenceRequested, reason: str) -> None:
        metrics.GATEWAY_ATTEMPTS.labels(RetryReason.of(reason)).inc()
        log.info("next_attempt", request_id=request.request_id, attempt=request.attempt, reason=reason)

        def acknowledged(position: LogPosition) -> None:
            reply_stream.attempt_lies_at(request.attempt, position)

        def refused(error: BaseException) -> None:
            if reply_stream.state.attempt == request.attempt:
                reply_stream.fail(_cannot_go_on(error))

        self.publisher.ask_again(request, reply_stream.traceparent, acknowledged, refused)

    def _stop(self, reply_stream: ReplyStream) -> None:
        """The client has got all that it gets of an answer."""
        metrics.ANSWERS_CUT.inc()
        self.publisher.cancel(reply_stream.request, ErrorCode.CONTENT_FILTER)

    def _forget_oldest(self) -> None:
        oldest = self._ended.popleft()
        self._ended_bytes -= oldest.size_bytes
        self.drop(oldest.reply_stream)

    def _stop_serving(self, reply_stream: ReplyStream) -> bool:
        if reply_stream not in self._serving:
            return False
        self._serving.remove(reply_stream)
        metrics.LLM_ACTIVE_REQUESTS.set(len(self._serving))
        self._changed.set()
        return True


def _has_its_share(taken: int, places: int) -> ProblemError:
    return ProblemError(
        Problem(
            429,
            ErrorCode.RATE_LIMIT_EXCEEDED,
            f"This tenant has {taken} requests under way at this gateway, of {places} that it serves at a "
            "time: its share while other tenants ask, too. Those that wait for their client to come back "
            "count. Try again in 1s.",
            headers=retry_after(1),
        )
    )


def _cannot_go_on(error: BaseException) -> Problem:
    """Why a request whose replica is gone gets no other."""
    if isinstance(error, RecordTooLargeError):
        message = "The request with what was answered so far is too large to be taken up by another replica."
        return Problem(503, ErrorCode.CANNOT_CONTINUE, message)
    message = "The message bus did not take the request's next attempt. Send it again."
    return unavailable(message, code=ErrorCode.BUS_UNAVAILABLE).problem
