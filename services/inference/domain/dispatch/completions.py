"""Which records of the lanes are done, and which ends are to be committed with them."""

from dataclasses import dataclass, field
from decimal import Decimal

from schemas.inference import Delivered, End, InferenceRequested, LogPosition
from services.common.requests.completion import completed_event
from services.common.requests.masking.texts import texts_of
from services.common.requests.pricing import FREE
from services.inference.domain.dispatch.actions import Ended, Moment
from services.inference.domain.dispatch.memory import EndMemory, Memory
from services.inference.domain.dispatch.queue.throughput import Throughput
from services.inference.domain.dispatch.rules import DispatchRules
from services.inference.domain.dispatch.tracked import Tracked
from services.inference.domain.offsets import OffsetTracker

_FREE = 65_536


@dataclass
class Completions:
    """The offsets that are done and the ends to commit with them: each record is taken
    once, each request ends once; `trackers` has a lane's records by its topic.
    """

    rules: DispatchRules
    trackers: dict[str, OffsetTracker]
    ended: EndMemory = field(default_factory=EndMemory)
    throughput: Throughput = field(default_factory=Throughput)
    ends: list[Ended] = field(default_factory=list)
    finished_unrecorded: bool = False
    free: "Memory[str, None]" = field(default_factory=lambda: Memory(_FREE))
    """Requests that cost nothing whatever was done: their clients were refused."""

    def read(self, position: LogPosition) -> bool:
        """Notes that a record was read; False if it is done already."""
        return self.trackers[position.topic].read(position.offset)

    def end(
        self,
        tracked: Tracked,
        request: InferenceRequested,
        end: End,
        choices: tuple[Delivered, ...],
        now: Moment,
    ) -> None:
        """A request has its end: all its records are done."""
        for position in tracked.positions:
            self.trackers[position.topic].finish(position.offset)
        self.finished_unrecorded = True
        self.ended.remember(request.request_id, end, choices)
        is_free = bool(self.free) and request.request_id in self.free
        event = completed_event(
            request,
            end,
            choices,
            replica_id=tracked.replica_id,
            price=FREE if is_free else self.rules.price_at(request.requested_at),
            now=now.utc,
        )
        self.ends.append(Ended(event, texts_of(request, choices), tracked.traceparent))

    def refuse(self, request_id: str) -> None:
        """A request costs nothing, whatever was done and even if it has just ended: its
        client was refused.
        """
        self.free.remember(request_id, None)
        for at, one in enumerate(self.ends):
            if one.event.request_id == request_id:
                self.ends[at] = one._replace(event=one.event.model_copy(update={"cost_usd": Decimal(0)}))

    def finish(self, position: LogPosition) -> None:
        """A record is done."""
        self.trackers[position.topic].finish(position.offset)
        self.finished_unrecorded = True

    def ended_before(self, request: InferenceRequested) -> bool:
        """Whether a request of which nothing is pending has had its end: it is remembered,
        or this is a further attempt.

        The records of a request are done together, at its end. Where that of an earlier
        attempt were still pending, it lay before this one and would be known.
        """
        if request.request_id in self.ended:
            return True
        if request.attempt == 1:
            return False
        previous = request.previous
        tracker = self.trackers.get(previous.topic) if previous is not None else None
        if previous is None or previous.offset < 0 or tracker is None:  # who reattached may not know it
            return True
        return tracker.is_finished(previous.offset)

    def take(self) -> list[Ended]:
        """The ends since the last call."""
        ends, self.ends, self.finished_unrecorded = self.ends, [], False
        return ends
