"""Between records and what a dispatcher decides: actions as records, records as
requests.
"""

from datetime import UTC, datetime
from typing import Literal

import structlog
from pydantic import TypeAdapter, ValidationError

from schemas.envelope import Envelope, EnvelopeError
from schemas.errors import ErrorCode
from schemas.inference import (
    CancelRequested,
    InferenceCompleted,
    InferenceRequested,
    Lane,
    ReplyEnded,
    ReplyTo,
    WorkAssigned,
    WorkCancelled,
)
from schemas.topics import COMPLETED, REPLIES, WORK_TOPIC
from services.common.bus import Outgoing, Record, is_appended_after
from services.common.process import metrics
from services.inference.domain.dispatch import Assign, Reply, Withdraw
from services.inference.domain.unreadable import ANY_ATTEMPT, salvage

log = structlog.get_logger(__name__)

CANCEL: TypeAdapter[CancelRequested] = TypeAdapter(CancelRequested)


def refused_meanwhile(request: InferenceRequested, record: Record) -> CancelRequested | None:
    """What takes back a request that the log took only after its client had been told
    that it did not; None where the client may have been let in.
    """
    if not is_appended_after(record, request.accept_by):
        return None
    return CancelRequested(
        request_id=request.request_id,
        model=request.model,
        tenant=request.tenant,
        reason=ErrorCode.NOT_ACKNOWLEDGED,
    )


def work_record(action: Assign | Withdraw, epoch: int) -> Outgoing:
    """What a replica is to do, for its inbox."""
    if isinstance(action, Assign):
        request = action.request
        if request.answer is not None:  # of use to gateways alone
            request = request.model_copy(update={"answer": None})
        work = WorkAssigned(
            replica_id=action.replica_id,
            epoch=epoch,
            origin=action.origin,
            request=request,
            waiting=action.waiting,
        )
        return Outgoing(
            WORK_TOPIC.name,
            work,
            subject=request.request_id,
            tenant=request.tenant,
            key=action.replica_id,
            partition=action.inbox,
            traceparent=action.traceparent,
        )
    back = WorkCancelled(
        replica_id=action.replica_id,
        epoch=epoch,
        request_id=action.request_id,
        attempt=action.attempt,
        reason=action.reason,
    )
    return Outgoing(
        WORK_TOPIC.name,
        back,
        subject=action.request_id,
        tenant="",
        key=action.replica_id,
        partition=action.inbox,
    )


def reply_records(reply: Reply, partitions: int) -> list[Outgoing]:
    """A reply's record in its partition, or one in each where that is not known."""
    to = range(partitions) if reply.to is None else [reply.to.partition % partitions]
    message = reply.message
    return [
        Outgoing(REPLIES.name, message, subject=message.request_id, tenant=message.tenant, partition=one)
        for one in to
    ]


def shortened(reply: Reply) -> Reply:
    """The same without the text, which is too large for a record."""
    message = reply.message
    if not isinstance(message, ReplyEnded):
        return reply
    return Reply(reply.to, message.model_copy(update={"choices": ()}))


def completed_record(event: InferenceCompleted, traceparent: str | None) -> Outgoing:
    """A request's end, with the texts that may be told."""
    return Outgoing(
        COMPLETED.name, event, subject=event.request_id, tenant=event.tenant, traceparent=traceparent
    )


def read_request(record: Record) -> InferenceRequested | None:
    """A lane's request; None, counted, where it cannot be read."""
    try:
        return InferenceRequested.model_validate_json(record.value or b"")
    except ValidationError as error:
        metrics.BUS_SKIPPED.labels(record.topic, "unreadable").inc()
        log.error(  # noqa: TRY400  a traceback would quote the prompt
            "request_unreadable", topic=record.topic, offset=record.offset, problems=error.error_count()
        )
        return None


def stand_in_of(record: Record, model: str, lane: Lane) -> InferenceRequested | None:
    """A request in place of one that cannot be read, so that it can be ended: its id is
    the record's key. None where there is no key.
    """
    try:
        request_id = (record.key or b"").decode()
    except UnicodeDecodeError:
        return None
    if not request_id:
        return None
    said = salvage(record.value)
    kind: Literal["chat", "completion"] = "chat" if request_id.startswith("chat") else "completion"
    asked_at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
    return InferenceRequested(
        request_id=request_id,
        attempt=said.attempt if 0 < said.attempt < ANY_ATTEMPT else ANY_ATTEMPT,
        previous=said.previous,
        kind=kind,
        model=model,
        lane=lane,
        tenant=said.tenant or _tenant_of(record),
        key_id=said.key_id,
        user=said.user,
        stream=said.stream,
        reply_to=said.reply_to or ReplyTo(partition=-1, gateway_id=""),
        requested_at=asked_at,
        deadline=asked_at,
    )


def _tenant_of(record: Record) -> str:
    try:
        return Envelope.from_headers(record.headers).tenant
    except EnvelopeError:
        return ""
