"""What a dispatcher is to do, and when that was decided."""

from datetime import datetime
from typing import NamedTuple

from schemas.inference import (
    InferenceCompleted,
    InferenceRequested,
    LogPosition,
    ReplyEnded,
    ReplyTo,
    RetryNeeded,
)
from services.common.requests.masking.texts import RequestTexts


class Moment(NamedTuple):
    """Now, on both clocks: UTC for deadlines, monotonic seconds for silences."""

    utc: datetime
    monotonic_s: float


class Assign(NamedTuple):
    """Give a request to a replica."""

    replica_id: str
    inbox: int
    request: InferenceRequested
    origin: LogPosition
    waiting: int
    traceparent: str | None = None


class Withdraw(NamedTuple):
    """Take an attempt back from a replica."""

    replica_id: str
    inbox: int
    request_id: str
    attempt: int
    reason: str


class Reply(NamedTuple):
    """A message to the gateway that follows a stream; `to` is None where its partition
    is not known: it then goes to all partitions.
    """

    to: ReplyTo | None
    message: ReplyEnded | RetryNeeded


Action = Assign | Withdraw | Reply


class Ended(NamedTuple):
    """A request's one end, to be committed with its offsets, and its texts as they are."""

    event: InferenceCompleted
    texts: RequestTexts
    traceparent: str | None = None
