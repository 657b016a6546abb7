"""What the gateway publishes: requests that a client waits to see acknowledged, and all
that nobody waits for.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog

from schemas.errors import ErrorCode
from schemas.inference import (
    CancelRequested,
    InferenceRequested,
    ReplyTo,
    RetryNeeded,
    StreamTaken,
)
from schemas.topics import COMMANDS, REPLIES, requests_topic
from services.common.bus.coordinates import (
    APPENDED,
    Acknowledged,
    LogPosition,
    is_appended_after,
    partition_of,
    position_of,
)
from services.common.bus.producers.producer import Outgoing, Producer
from services.common.errors import BusUnavailableError, PermanentError
from services.common.http.problems import ProblemError, unavailable
from services.common.process import metrics
from services.common.process.child.turns import Turns
from services.common.retry import retry
from services.gateway.bus.bus_clock import BusClock
from services.gateway.bus.monitor import BusMonitor
from services.gateway.bus.request_limits import encode_request

log = structlog.get_logger(__name__)

OnAck = Callable[[LogPosition], None]
OnRefused = Callable[[BaseException], None]
_LARGE_BYTES = 64 * 1024
_RESEND_S = 30.0
_LOG_EVERY_S = 10.0
_TRIES = 3


class MayHaveBegunError(ProblemError):
    """The client is refused, and yet the log may have its request: it is cancelled, and
    its end comes where it was there.
    """


@dataclass(frozen=True, slots=True)
class _Delivery:
    """What is called once a record is acknowledged or given up, and how often it was
    sent.
    """

    on_ack: OnAck | None = None
    on_refused: OnRefused | None = None
    tries: int = 1


@dataclass
class _Turn:
    """Of large requests one is on its way at a time, tenants in turn: the driver sends a
    partition's records one after the other, and a flood of large ones would keep all
    others from the bus until they time out. `came` tells whether it was this one's turn
    within `within_s`, which leaves Kafka time to answer.
    """

    turns: Turns
    record: Outgoing
    within_s: float
    came: bool = False

    @property
    def is_needed(self) -> bool:
        """Whether the request is large."""
        return len(self.record.encoded or b"") > _LARGE_BYTES

    async def __aenter__(self) -> None:
        if self.is_needed:
            async with asyncio.timeout(self.within_s):
                await self.turns.acquire(self.record.tenant)
        self.came = True

    async def __aexit__(self, *_: object) -> None:
        if self.is_needed:
            self.turns.release()


@dataclass
class RequestPublisher:
    """Publishes through one producer.

    What nobody waits for queues up, bounded, and is sent in order.
    """

    producer: Producer
    bus_monitor: BusMonitor
    bus_clock: BusClock
    ack_timeout_s: float
    capacity: int = 16_384
    probe_every_s: float = 60.0
    _queue: "asyncio.Queue[tuple[Outgoing, _Delivery]]" = field(init=False)
    _gateway_id: str = field(default="", init=False)
    _logged_late_s: float = field(default=float("-inf"), init=False)
    _turns: Turns = field(default_factory=Turns, init=False)

    def __post_init__(self) -> None:
        self._queue = asyncio.Queue(self.capacity)

    async def warm_up(self, gateway_id: str) -> None:
        """Learns who leads each topic, so that the first request need not wait for
        that, and the time of the broker that leads this gateway's partition. Where Kafka
        does not say, that request waits after all.
        """
        self._gateway_id = gateway_id
        with contextlib.suppress(TimeoutError, BusUnavailableError):
            async with asyncio.timeout(self.ack_timeout_s):
                for topic in [*self.bus_monitor.present, COMMANDS.name, REPLIES.name]:
                    await self.producer.partitions(topic)
                await (await self._send_timed(self._time_probe()))

    def require(self, request: InferenceRequested) -> None:
        """Passes where a request fits into the bus's messages, and the bus is there.

        Raises:
            ProblemError: 413 or 400, it does not fit; 503, Kafka is away.
        """
        encode_request(request)
        self.bus_monitor.require(requests_topic(request.model, request.lane))

    async def ask(
        self, request: InferenceRequested, traceparent: str | None, *, begun: Callable[[], bool]
    ) -> LogPosition | None:
        """Publishes a request and waits until Kafka has it.

        None where it is seen to have begun (`begun`) though Kafka has not acknowledged
        it in time.

        Raises:
            ProblemError: 413 or 400, the request does not fit into the bus's messages;
                503, Kafka is away or did not acknowledge in time, or other large
                requests were before this one; should Kafka have the request all the
                same, it is cancelled, and free. 503 too where a broker's
                clock is another than was known, and dates the request too late.
        """
        record = _request_record(request, traceparent, encode_request(request))
        self.bus_monitor.require(requests_topic(request.model, request.lane))
        sent: asyncio.Future[Acknowledged] | None = None
        turn = _Turn(self._turns, record, self.ack_timeout_s / 2)
        try:
            async with asyncio.timeout(self.ack_timeout_s), turn:
                sent = await self._send_timed(record, request.accept_by)
                done = await asyncio.shield(sent)
        except TimeoutError as error:
            if not turn.came:
                raise _crowded_out() from error
            self.bus_monitor.note_failure(error)
            if begun():
                return None
            self._take_back(request, sent)
            raise self._not_taken(request, error, sent) from error
        except asyncio.CancelledError:
            self._take_back(request, sent)
            raise
        except Exception as error:
            raise self._not_taken(request, error, None) from error
        if is_appended_after(done, request.accept_by):
            raise self._taken_too_late(request, done)
        return position_of(done)

    def ask_again(
        self,
        request: InferenceRequested,
        traceparent: str | None,
        on_ack: OnAck,
        on_refused: OnRefused,
    ) -> None:
        """Publishes a further attempt; `on_refused` hears that it will never arrive."""
        self._send_later(_request_record(request, traceparent), _Delivery(on_ack, on_refused))

    def cancel(self, request: InferenceRequested, reason: str) -> None:
        """Takes a request back."""
        metrics.GATEWAY_CANCELS.labels(reason).inc()
        cancel = CancelRequested(
            request_id=request.request_id, model=request.model, tenant=request.tenant, reason=reason
        )
        self._send_later(
            Outgoing(topic=COMMANDS.name, value=cancel, subject=request.request_id, tenant=request.tenant),
            _Delivery(),
        )

    def tell_reply_streams(self, reply_to: ReplyTo, message: RetryNeeded | StreamTaken, tenant: str) -> None:
        """Writes into the partition that a request's reply streams read."""
        self._send_later(
            Outgoing(
                topic=REPLIES.name,
                value=message,
                subject=message.request_id,
                tenant=tenant,
                partition=reply_to.partition,
            ),
            _Delivery(),
        )

    async def run(self) -> None:
        """Sends what is queued, and keeps an eye on the brokers' time, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send_queued())
            tasks.create_task(self._keep_probing())

    async def close(self, timeout_s: float = 2.0) -> None:
        """Hands what is still queued to the producer, which sends it before it closes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self._queue.empty():
                    await self._send_next(*self._queue.get_nowait())

    async def _send_queued(self) -> None:
        while True:
            await self._send_next(*await self._queue.get())

    async def _keep_probing(self) -> None:
        """A gateway that nobody asks learns of clocks that were set, too."""
        while True:
            await asyncio.sleep(self.probe_every_s)
            with contextlib.suppress(TimeoutError, BusUnavailableError, PermanentError):
                async with asyncio.timeout(self.ack_timeout_s):
                    await self._send_timed(self._time_probe())

    async def _send_next(self, record: Outgoing, delivery: _Delivery) -> None:
        try:
            sent = await retry(lambda: self.producer.send_soon(record), timeout_s=_RESEND_S)
        except (BusUnavailableError, PermanentError) as error:
            _give_up(record, delivery, error)
            return
        sent.add_done_callback(lambda done: self._acknowledged(record, delivery, done))

    def _send_later(self, record: Outgoing, delivery: _Delivery) -> None:
        try:
            self._queue.put_nowait((record, delivery))
        except asyncio.QueueFull as error:
            _give_up(record, delivery, error)

    def _acknowledged(
        self, record: Outgoing, delivery: _Delivery, sent: "asyncio.Future[Acknowledged]"
    ) -> None:
        """Kafka has the record, or refused it: then it is sent again, by another driver
        where this one has failed for good.
        """
        if sent.cancelled():
            return
        error = sent.exception()
        if error is None:
            if delivery.on_ack is not None:
                delivery.on_ack(position_of(sent.result()))
        elif delivery.tries < _TRIES:
            self._send_later(record, replace(delivery, tries=delivery.tries + 1))
        else:
            _give_up(record, delivery, error)

    async def _send_timed(
        self, record: Outgoing, accept_by: datetime | None = None
    ) -> "asyncio.Future[Acknowledged]":
        """Sends a record; its acknowledgement will tell its partition's leader's time."""
        sent_s = self.bus_clock.monotonic()
        sent = await self.producer.send_soon(record)
        sent.add_done_callback(lambda done: self._learn_time(done, sent_s, accept_by))
        return sent

    def _learn_time(
        self, sent: "asyncio.Future[Acknowledged]", sent_s: float, accept_by: datetime | None
    ) -> None:
        if sent.cancelled() or sent.exception() is not None:
            return
        done = sent.result()
        if done.timestamp_type == APPENDED:
            is_wrong = is_appended_after(done, accept_by)
            self.bus_clock.learn(partition_of(done), done.timestamp, sent_s=sent_s, for_certain=is_wrong)

    def _time_probe(self) -> Outgoing:
        """A record that concerns no request: its acknowledgement tells the time."""
        nothing = StreamTaken(request_id="", gateway_id=self._gateway_id, follower_id="")
        return Outgoing(
            topic=REPLIES.name,
            value=nothing,
            subject=self._gateway_id,
            tenant="",
            partition=self.bus_monitor.partition,
        )

    def _taken_too_late(self, request: InferenceRequested, done: Acknowledged) -> ProblemError:
        """The dispatcher takes a request that was dated so late for one whose client was
        refused, and does not begin it.
        """
        metrics.GATEWAY_ACCEPTED_LATE.inc()
        now_s = self.bus_clock.monotonic()
        if now_s - self._logged_late_s >= _LOG_EVERY_S:
            self._logged_late_s = now_s
            log.warning(
                "broker_clock_is_another",
                topic=done.topic,
                appended_ms=done.timestamp,
                accept_by=str(request.accept_by),
                request_id=request.request_id,
            )
        self.cancel(request, ErrorCode.NOT_ACKNOWLEDGED)
        refusal = unavailable(
            "The message bus dated the request later than it may be begun: a broker's clock was set, or "
            "another broker leads. It is not begun and costs nothing. Try again.",
            code=ErrorCode.BUS_UNAVAILABLE,
        )
        return MayHaveBegunError(refusal.problem)

    def _not_taken(
        self, request: InferenceRequested, error: BaseException, sent: "asyncio.Future[Acknowledged] | None"
    ) -> ProblemError:
        log.warning("request_not_taken", request_id=request.request_id, error=repr(error))
        if sent is None:
            return unavailable(
                "The message bus did not take the request; nothing was begun. Try again.",
                code=ErrorCode.BUS_UNAVAILABLE,
            )
        refusal = unavailable(
            f"The message bus did not acknowledge the request within {self.ack_timeout_s:g} s. It may have "
            "begun: it is being cancelled, and is charged only if it had ended before that. Try again.",
            code=ErrorCode.BUS_UNAVAILABLE,
        )
        return MayHaveBegunError(refusal.problem)

    def _take_back(self, request: InferenceRequested, sent: "asyncio.Future[Acknowledged] | None") -> None:
        """Cancels a request that may be in the log: now, and again once it is known to
        be there, since the first may have been lost.
        """
        if sent is not None:
            self.cancel(request, ErrorCode.NOT_ACKNOWLEDGED)
            sent.add_done_callback(lambda future: self._cancel_late(request, future))

    def _cancel_late(self, request: InferenceRequested, sent: "asyncio.Future[Acknowledged]") -> None:
        with contextlib.suppress(asyncio.CancelledError):
            if sent.exception() is None:
                self.cancel(request, ErrorCode.NOT_ACKNOWLEDGED)


def _crowded_out() -> ProblemError:
    return unavailable(
        "Other large requests were before this one, so it did not come to the message bus in time; nothing "
        "was begun. Try again, or send shorter prompts.",
        code=ErrorCode.OVERLOADED,
    )


def _request_record(
    request: InferenceRequested, traceparent: str | None, encoded: bytes | None = None
) -> Outgoing:
    topic = requests_topic(request.model, request.lane)
    return Outgoing(
        topic=topic,
        value=request,
        subject=request.request_id,
        tenant=request.tenant,
        partition=0,
        traceparent=traceparent,
        encoded=encoded,
    )


def _give_up(record: Outgoing, delivery: _Delivery, error: BaseException) -> None:
    if delivery.on_refused is not None:
        delivery.on_refused(error)
    metrics.GATEWAY_UNSENT.labels(record.topic).inc()
    log.error("record_not_sent", topic=record.topic, request_id=record.subject, error=repr(error))
