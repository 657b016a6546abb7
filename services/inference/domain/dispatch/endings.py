"""The ends that a dispatcher makes itself, and the replies to the gateway that follows."""

from datetime import datetime, timedelta

from schemas.errors import ErrorCode, RetryReason
from schemas.inference import (
    Delivered,
    End,
    ErrorDetail,
    InferenceRequested,
    LogPosition,
    Outcome,
    ReplyEnded,
    RetryNeeded,
)
from services.inference.domain.dispatch.actions import Reply


def reply_ended(
    request: InferenceRequested, end: End, choices: tuple[Delivered, ...], attempt: int | None = None
) -> Reply:
    """Tells the end to the gateway that follows the stream at this attempt, or at the
    request's; to all gateways where the request does not name one.
    """
    message = ReplyEnded(
        request_id=request.request_id,
        tenant=request.tenant,
        attempt=attempt or request.attempt,
        end=end,
        choices=choices,
    )
    return Reply(request.reply_to if request.reply_to.partition >= 0 else None, message)


def retry_needed(request: InferenceRequested, origin: LogPosition, reason: RetryReason) -> Reply:
    """Asks for the next attempt; `origin` is where the log has this one."""
    message = RetryNeeded(
        request_id=request.request_id,
        tenant=request.tenant,
        attempt=request.attempt,
        reason=reason,
        origin=origin,
    )
    return Reply(request.reply_to, message)


def expired() -> End:
    """Its deadline passed in the queue, or on a replica that did not notice."""
    return _end(
        Outcome.EXPIRED,
        504,
        ErrorCode.DEADLINE_EXCEEDED,
        "the request's deadline passed before it was answered",
    )


def gave_up(attempts: int) -> End:
    """Nobody finished it in as many attempts as there may be."""
    return _failed(ErrorCode.ATTEMPTS_EXHAUSTED, f"{attempts} replicas in turn did not finish this request")


def killed_replicas(kills: int) -> End:
    """Replicas died of it."""
    return _failed(ErrorCode.REPLICA_KILLED, f"{kills} replicas died of this request; it is not tried again")


def unanswered() -> End:
    """Its replica died, and nobody wants the rest."""
    return _failed(
        ErrorCode.REPLICA_LOST, "the replica died, and nobody who followed the stream asked for it to go on"
    )


def unreadable() -> End:
    """Its record cannot be read."""
    return _failed(
        ErrorCode.REQUEST_UNREADABLE,
        "the request cannot be read by this version of inference; send it again",
    )


def lost() -> End:
    """Retention took its record before its turn came."""
    return _failed(
        ErrorCode.REQUEST_LOST,
        "the request waited for longer than the log keeps it, and is no longer there; send it again",
    )


def too_large() -> End:
    """It does not fit into a record on its way to a replica."""
    return _end(
        Outcome.FAILED,
        413,
        ErrorCode.BODY_TOO_LARGE,
        "the request is too large for the bus; shorten the conversation",
    )


def already_ended() -> End:
    """It ended long ago."""
    return _failed(ErrorCode.ALREADY_ENDED, "the request has ended; its text is no longer at hand")


def later(deadline: datetime, seconds: float) -> datetime:
    """A deadline with some grace."""
    return deadline + timedelta(seconds=seconds)


def _failed(code: ErrorCode, message: str) -> End:
    return _end(Outcome.FAILED, 503, code, message)


def _end(outcome: Outcome, status: int, code: ErrorCode, message: str) -> End:
    return End(outcome=outcome, error=ErrorDetail(status=status, code=code, message=message))
