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


class Tell(NamedTuple):
    """Say something to whoever follows a stream; `to` None where nobody knows which
    partition that is: then to all.
    """

    to: ReplyTo | None
    reply: ReplyEnded | RetryNeeded


Action = Assign | Withdraw | Tell


class Ended(NamedTuple):
    """A request's one end, to be committed with its offsets."""

    event: InferenceCompleted
    traceparent: str | None = None
