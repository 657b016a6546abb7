"""Coming back to a request that this gateway may never have heard of: everything needed
is in the log.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

from schemas.errors import ErrorCode
from schemas.inference import Delivered, InferenceRequested, StreamTaken
from schemas.topics import REPLIES
from services.common.bus.coordinates import LogPosition, Record
from services.common.clock import MonotonicClock
from services.common.control.principal import Principal
from services.common.errors import BusUnavailableError, TransientError
from services.common.http.problems import Problem, ProblemError, malformed, unavailable
from services.common.process import metrics
from services.common.requests.request_finder import RequestFinder, cannot_look_up
from services.common.requests.request_ids import may_be_in_log, time_ms_of
from services.gateway.bus.publisher import RequestPublisher
from services.gateway.openai.chunks import EventId
from services.gateway.problems import no_such_request
from services.gateway.streams.admitted import Admitted
from services.gateway.streams.output_filter.opening import output_filter_of
from services.gateway.streams.reader import ReaderPool, ReplyReader
from services.gateway.streams.registry import StreamRegistry
from services.gateway.streams.reply_stream import ReplyStream
from services.gateway.streams.state import Phase, StreamState, advance, deliver, new_stream

_KEPT_S = 15 * 60


@dataclass
class Reattacher:
    """Finds requests in the log and joins their streams."""

    finder: RequestFinder
    readers: ReaderPool
    registry: StreamRegistry
    publisher: RequestPublisher
    gateway_id: str
    monotonic: MonotonicClock

    async def find(self, request_id: str, caller: Principal) -> tuple[InferenceRequested, LogPosition]:
        """A request of the caller's tenant as it was first published, and where.

        Raises:
            ProblemError: 404, there is none, or no more; 429, the tenant asks too much;
                503, the log cannot be read now.
        """
        now, made_at_ms = self.publisher.bus_clock.now(), time_ms_of(request_id)
        if made_at_ms is None or not may_be_in_log(made_at_ms, now, _KEPT_S):
            raise no_such_request(request_id)
        found = await self.finder.find(
            request_id,
            tenant=caller.tenant,
            topics=self.publisher.bus_monitor.present,
            now_ms=now.timestamp() * 1000,
        )
        if found is None or found[0].tenant != caller.tenant:
            raise no_such_request(request_id)
        return found

    async def join(
        self,
        request: InferenceRequested,
        origin: LogPosition,
        *,
        after: EventId | None,
        traceparent: str | None,
    ) -> ReplyStream:
        """A reply stream of a stream's whole history, which goes on live.

        Raises:
            ProblemError: 400, the event id is of another stream; 404, the beginning is
                gone; 429, the tenant asks too much; 503, the log cannot be read now.
        """
        partition = request.reply_to.partition
        if after is not None and after.partition != partition:
            raise malformed(
                f"Last-Event-ID names partition {after.partition}; this stream is in partition {partition}.",
                "last-event-id",
            )
        [place] = self.registry.take_slots(request.tenant)
        admitted = Admitted(request, place)
        try:
            reader = await self._reader_of(partition)
            reply_stream = self.registry.follow(admitted, reader, traceparent=traceparent, replaying=True)
        except BaseException:
            admitted.give_back()
            raise
        reply_stream.attempt_lies_at(1, origin)
        try:
            await self._replay(reply_stream, reader, after)
        except BaseException:
            self.registry.forget(reply_stream)
            raise
        follower_id = uuid4().hex
        reply_stream.take_over(follower_id)
        taken = StreamTaken(
            request_id=request.request_id, gateway_id=self.gateway_id, follower_id=follower_id
        )
        self.publisher.tell_reply_streams(request.reply_to, taken, request.tenant)
        metrics.GATEWAY_REATTACHED.inc()
        return reply_stream

    async def delivered(self, request_id: str, caller: Principal) -> Sequence[Delivered]:
        """What was answered to a request of the caller's tenant; nothing where there is
        no such request, or no more.

        Raises:
            ProblemError: 429, the tenant asks too much; 503, the log cannot be read now.
        """
        try:
            request, _ = await self.find(request_id, caller)
        except ProblemError as error:
            if error.problem.status == 404:
                return ()
            raise
        return await self._told_of(request)

    async def has_ended(self, request: InferenceRequested) -> bool:
        """Whether a request is over, by what the log has of it.

        Raises:
            ProblemError: 429, the tenant asks too much; 503, the log cannot be read now.
        """
        return (await self._state_of(request)).phase is Phase.ENDED

    async def _reader_of(self, partition: int) -> ReplyReader:
        try:
            return await self.readers.reader_of(partition)
        except BusUnavailableError as error:
            raise unavailable(
                "The stream cannot be read now. Try again.", code=ErrorCode.BUS_UNAVAILABLE
            ) from error

    async def _told_of(self, request: InferenceRequested) -> Sequence[Delivered]:
        """The choices as their client got them."""
        output_filter = output_filter_of(request, self.registry.settings.key_pepper.get_secret_value())
        state = told = new_stream(request.sampling.n, max_attempts=self.registry.settings.max_attempts)
        for record in await self._replies_to(request):
            heard = self.readers.own.messages.read(record)
            if heard is None or isinstance(heard, StreamTaken):
                continue
            step = advance(state, heard)
            state = step.state
            if output_filter is not None:
                pieces = output_filter.pass_on(step.pieces, step.end)
                told = replace(told, choices=deliver(told.choices, pieces))
        return state.choices if output_filter is None else told.choices

    async def _state_of(self, request: InferenceRequested) -> StreamState:
        state = new_stream(request.sampling.n, max_attempts=self.registry.settings.max_attempts)
        for record in await self._replies_to(request):
            heard = self.readers.own.messages.read(record)
            if heard is not None and not isinstance(heard, StreamTaken):
                state = advance(state, heard).state
        return state

    async def _replies_to(self, request: InferenceRequested) -> Sequence[Record]:
        try:
            return await self.finder.scans.of(REPLIES.name, request.reply_to.partition).records_of(
                request.request_id.encode(), time_ms_of(request.request_id) or 0, tenant=request.tenant
            )
        except TransientError as error:
            raise cannot_look_up(error) from error

    async def _replay(self, reply_stream: ReplyStream, reader: ReplyReader, after: EventId | None) -> None:
        records = await self._replies_to(reply_stream.request)
        if after is not None and after.offset not in {record.offset for record in records}:
            raise malformed(
                f"Last-Event-ID {after.partition}-{after.offset}.{after.chunk} is no event of this stream.",
                "last-event-id",
            )
        history = [
            (record.offset, heard)
            for record in records
            if (heard := reader.messages.read(record)) is not None
        ]
        if history and _has_lost_its_beginning(history[0][1]):
            message = "The beginning of this stream is no longer in the log, so it cannot be taken up again."
            raise ProblemError(Problem(404, ErrorCode.STREAM_EXPIRED, message, "request_id"))
        reply_stream.go_live(history, self.monotonic())


def _has_lost_its_beginning(first: object) -> bool:
    return getattr(first, "attempt", 1) > 1 or getattr(first, "seq", 0) > 0
