"""One request as its dispatcher follows it."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from schemas.inference import InferenceRequested, Lane, LogPosition
from services.inference.domain.replicas import AttemptKey


class State(Enum):
    """Waiting for a slot, assigned to a replica, or waiting for its next attempt."""

    WAITING = 1
    ASSIGNED = 2
    RETRYING = 3


@dataclass(slots=True)
class Tracked:
    """A request that has not ended.

    `request` is None while its record is held in the log only. `faults` counts the
    attempts in which the engine failed it, `kills` those of which its replica died.
    """

    request_id: str
    attempt: int
    lane: Lane
    tenant: str
    deadline: datetime
    positions: list[LogPosition]
    since_s: float
    size_bytes: int = 0
    request: InferenceRequested | None = None
    traceparent: str | None = None
    state: State = State.WAITING
    replica_id: str = ""
    faults: int = 0
    kills: int = 0
    counted: bool = field(default=False)
    """Whether the lane's read-ahead holds it."""

    @classmethod
    def of(
        cls,
        request: InferenceRequested,
        position: LogPosition,
        now_s: float,
        *,
        size_bytes: int,
        traceparent: str | None,
    ) -> "Tracked":
        """A request that was just read."""
        return cls(
            request.request_id,
            request.attempt,
            request.lane,
            request.tenant,
            request.deadline,
            [position],
            now_s,
            size_bytes,
            request,
            traceparent,
        )

    @property
    def key(self) -> AttemptKey:
        """The current attempt."""
        return self.request_id, self.attempt

    def assign(self, replica_id: str, now_s: float) -> None:
        """A replica has the current attempt."""
        self.state, self.replica_id, self.since_s = State.ASSIGNED, replica_id, now_s

    def take(self, request: InferenceRequested, size_bytes: int, traceparent: str | None) -> None:
        """A further attempt takes the place of the one before."""
        self.request, self.attempt, self.replica_id = request, request.attempt, ""
        self.deadline, self.size_bytes = request.deadline, size_bytes
        self.traceparent = traceparent or self.traceparent
