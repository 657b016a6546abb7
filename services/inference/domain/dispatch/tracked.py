"""One request as its dispatcher follows it."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Literal, NamedTuple

from schemas.inference import InferenceRequested, Lane, LogPosition, ReplyTo, Usage
from services.inference.domain.replicas import AttemptKey


class State(Enum):
    """Waiting for a slot, assigned to a replica, or waiting for its next attempt."""

    WAITING = 1
    ASSIGNED = 2
    RETRYING = 3


_KNOWN_BYTES = 1500
"""What a request takes in memory that is left in the log, besides its texts."""


class Sender(NamedTuple):
    """Whose request it is and who waits for it: enough to end it without its record."""

    kind: Literal["chat", "completion"]
    key_id: str
    user: str
    stream: bool
    reply_to: ReplyTo
    requested_at: datetime


@dataclass(slots=True)
class Tracked:
    """A request that has not ended.

    `request` is None while its record is held in the log only; `sender` is then what is
    known of it. `faults` counts the attempts in which the engine failed it, `killed`
    names the replicas that may have died of it.
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
    killed: tuple[str, ...] = ()
    ambiguous_death: bool = False
    """Whether something else may have caused the last of those deaths."""
    sender: Sender | None = None
    cancelled: bool = False
    """Its replica was told to stop, and has not reported that yet."""
    generated: int = 0
    """Tokens of the current attempt, as its replica last said."""
    prompt_tokens: int = 0
    """The prompt's, as a replica said."""

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

    @property
    def kills(self) -> int:
        """How many replicas may have died of it."""
        return len(self.killed)

    @property
    def known_bytes(self) -> int:
        """At most so much memory is taken by what stays known of it, four bytes a
        character.
        """
        sender = self.sender
        texts = (sender.key_id, sender.user, sender.reply_to.gateway_id) if sender else ()
        return _KNOWN_BYTES + 4 * (len(self.request_id) + len(self.tenant) + sum(map(len, texts)))

    def let_go(self) -> None:
        """Its record is left in the log."""
        request = self.request
        if request is not None:
            self.sender = Sender(
                request.kind,
                request.key_id,
                request.user,
                request.stream,
                request.reply_to,
                request.requested_at,
            )
        self.request = None

    def stand_in(self, model: str) -> InferenceRequested | None:
        """A request in place of one whose record is gone: it says whose it was, not what
        was asked.
        """
        if self.sender is None:
            return None
        return InferenceRequested(
            request_id=self.request_id,
            attempt=self.attempt,
            model=model,
            lane=self.lane,
            tenant=self.tenant,
            deadline=self.deadline,
            **self.sender._asdict(),
        )

    def add_record(self, position: LogPosition) -> None:
        """A further record of it was read."""
        self.positions.append(position)

    def restore(self, request: InferenceRequested | None) -> None:
        """Its record was read again, or is replaced by what is known of it."""
        self.request = request

    def wait(self, now_s: float) -> None:
        """It waits for a slot."""
        self.state, self.since_s = State.WAITING, now_s

    def await_retry(self, now_s: float) -> None:
        """Its next attempt is asked for."""
        self.state, self.since_s = State.RETRYING, now_s

    def assign(self, replica_id: str, now_s: float) -> None:
        """A replica has the current attempt."""
        self.state, self.replica_id, self.since_s = State.ASSIGNED, replica_id, now_s

    def take(self, request: InferenceRequested, size_bytes: int, traceparent: str | None) -> None:
        """A further attempt takes the place of the one before."""
        self.request, self.attempt, self.replica_id = request, request.attempt, ""
        self.generated = 0
        self.deadline, self.size_bytes = request.deadline, size_bytes
        self.traceparent = traceparent or self.traceparent

    def note_tokens(self, *, generated: int, prompt: int) -> None:
        """Its replica says how far it is."""
        self.generated, self.prompt_tokens = generated, prompt or self.prompt_tokens

    def usage(self) -> Usage:
        """What was used so far, as far as that is known: what was delivered, and what the
        replica of the current attempt last told.
        """
        delivered = sum(one.tokens for one in self.request.delivered) if self.request else 0
        return Usage(prompt_tokens=self.prompt_tokens, completion_tokens=delivered + self.generated)

    def note_cancel(self) -> None:
        """Its client left; the replica that has it is told."""
        self.cancelled = True

    def note_finisher(self, replica_id: str) -> None:
        """Another replica than the one it was assigned to has finished the attempt."""
        self.replica_id = replica_id

    def count_fault(self) -> None:
        """The engine, or its replica, failed an attempt."""
        self.faults += 1

    def count_death(self, replica_id: str, *, ambiguous: bool) -> None:
        """A replica may have died of it."""
        self.killed, self.ambiguous_death = (*self.killed, replica_id), ambiguous

    def clear_death(self, replica_id: str) -> None:
        """That replica did not die."""
        self.killed = tuple(one for one in self.killed if one != replica_id)

    def clear_suspicion(self) -> None:
        """No replica died of it."""
        self.killed = ()

    def shift_clock(self, gap_s: float) -> None:
        """It has not aged for so long."""
        self.since_s += gap_s
