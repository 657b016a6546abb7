"""Ends that the gateway makes itself: of requests that no dispatcher ever sees."""

from dataclasses import dataclass, field

import structlog

from schemas.errors import ErrorCode
from schemas.inference import Delivered, End, InferenceRequested
from schemas.topics import COMPLETED
from services.common.bus import Outgoing
from services.common.bus.producers.counting import CountingProducer
from services.common.clock import Clock
from services.common.control.audit_entries import AuditWriter, blocked_request
from services.common.errors import BusUnavailableError, RecordTooLargeError
from services.common.http.problems import Problem, ProblemError, unavailable
from services.common.process import metrics
from services.common.requests.completion import completed_event
from services.common.requests.masking.recording import TextRecording
from services.common.requests.masking.texts import texts_of
from services.common.requests.pricing import PriceList
from services.gateway.problems import category_of

log = structlog.get_logger(__name__)

_AUDITED = frozenset({ErrorCode.PROMPT_INJECTION, ErrorCode.SECRET_IN_PROMPT})
"""What a prompt is blocked for; that a model is switched off is no act of its caller's."""


@dataclass
class EndPublisher:
    """Records the one end of a request that is answered without inference: blocked, or
    served from a cache.

    Never for a request that was published to a lane: its dispatcher ends that.
    """

    producer: CountingProducer
    prices: PriceList
    texts: TextRecording
    clock: Clock
    capacity: int
    audit: AuditWriter = field(init=False)
    _under_way: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.audit = AuditWriter(self.producer.send)

    async def run(self) -> None:
        """Tells the audit of what was blocked, until cancelled."""
        await self.audit.run()

    async def close(self) -> None:
        """Tells what is left, bounded, and disconnects."""
        await self.audit.close()
        await self.producer.close()

    async def end(
        self,
        request: InferenceRequested,
        end: End,
        choices: tuple[Delivered, ...] = (),
        *,
        traceparent: str | None = None,
    ) -> None:
        """Publishes the end. The client is answered after that, so that nothing it was
        told is missing from the record.

        Raises:
            ProblemError: 503, Kafka did not acknowledge it in time, or `capacity` ends
                are under way already; 413, it does not fit into a record.
        """
        if self._under_way >= self.capacity:
            raise unavailable(
                f"This gateway already ends {self.capacity} requests. Try again.", code=ErrorCode.OVERLOADED
            )
        self._under_way += 1
        try:
            await self._publish(request, end, choices, traceparent)
        finally:
            self._under_way -= 1
        metrics.GATEWAY_ENDS.labels(end.outcome).inc()
        if end.error is not None and end.error.code in _AUDITED:
            self.audit.note(
                blocked_request(request, now=self.clock(), category=category_of(request, end.error.code))
            )

    async def _publish(
        self,
        request: InferenceRequested,
        end: End,
        choices: tuple[Delivered, ...],
        traceparent: str | None,
    ) -> None:
        event = completed_event(
            request,
            end,
            choices,
            replica_id="",
            price=self.prices.at(request.model, request.requested_at),
            now=self.clock(),
        )
        event = await self.texts.end_with_texts(event, texts_of(request, choices))
        try:
            await self.producer.send(
                Outgoing(
                    COMPLETED.name,
                    event,
                    subject=request.request_id,
                    tenant=request.tenant,
                    traceparent=traceparent,
                )
            )
        except BusUnavailableError as error:
            raise unavailable(
                "The message bus did not acknowledge the record of how this request ended "
                f"({end.outcome.value}), so it was not answered. No model worked on it; the record may "
                "still arrive. Try again.",
                code=ErrorCode.BUS_UNAVAILABLE,
            ) from error
        except RecordTooLargeError as error:
            log.exception("end_too_large", request_id=request.request_id)
            raise ProblemError(
                Problem(
                    413,
                    ErrorCode.BODY_TOO_LARGE,
                    f"The record of how this request ended ({end.outcome.value}) is larger than the message "
                    "bus takes, so it was not answered. No model worked on it. Shorten the conversation.",
                )
            ) from error
