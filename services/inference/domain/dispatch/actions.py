"""What a dispatcher is to do, and when that was decided."""

from dataclasses import dataclass
from datetime import datetime

from schemas.inference import (
    InferenceCompleted,
    InferenceRequested,
    LogPosition,
    ReplyEnded,
    ReplyTo,
    RetryNeeded,
)


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, on both clocks: UTC for deadlines, monotonic seconds for silences."""

    utc: datetime
    monotonic_s: float


@dataclass(frozen=True, slots=True)
class Assign:
    """Give a request to a replica."""

    replica_id: str
    inbox: int
    request: InferenceRequested
    origin: LogPosition
    waiting: int
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Take an attempt back from a replica."""

    replica_id: str
    inbox: int
    request_id: str
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Tell:
    """Say something to whoever follows a stream; `to` None where nobody knows which
    partition that is: then to all.
    """

    to: ReplyTo | None
    reply: ReplyEnded | RetryNeeded


Action = Assign | Withdraw | Tell


@dataclass(frozen=True, slots=True)
class Ended:
    """A request's one end, to be committed with its offsets."""

    event: InferenceCompleted
    traceparent: str | None = None
