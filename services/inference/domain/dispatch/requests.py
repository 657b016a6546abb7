"""The requests of one model that have not ended, and how each of them ends once.

`_end` takes a request out, takes it back from its replica, marks every record of it as
finished and puts its `InferenceCompleted` into the ends, which the shell commits in the
same transaction as the offsets.
"""

from dataclasses import dataclass

from schemas.errors import RetryReason
from schemas.inference import Delivered, End, InferenceRequested, LogPosition
from services.inference.domain.dispatch import endings
from services.inference.domain.dispatch.actions import Action, Moment, Withdraw
from services.inference.domain.dispatch.completions import Completions
from services.inference.domain.dispatch.memory import EarlyReports, PendingEnd
from services.inference.domain.dispatch.poison_requests import PoisonRequests
from services.inference.domain.dispatch.queue.waiting import Waiting
from services.inference.domain.dispatch.rules import DispatchRules
from services.inference.domain.dispatch.takeover import Takeover
from services.inference.domain.dispatch.tracked import State, Tracked
from services.inference.domain.offsets import OffsetTracker
from services.inference.domain.replicas import Fleet


@dataclass
class Requests:
    """The table of requests; `trackers` has a lane's records by its topic."""

    rules: DispatchRules
    trackers: dict[str, OffsetTracker]
    takeover: Takeover

    def __post_init__(self) -> None:
        self.fleet = Fleet()
        self.completions = Completions(self.rules, self.trackers)
        self._tracked: dict[str, Tracked] = {}
        self._retrying: dict[str, None] = {}
        self.waiting = Waiting(self.rules.read_ahead, self.trackers, self._tracked)
        self.poison = PoisonRequests(self.rules)
        self._early = EarlyReports()
        self._ticked_s = self.takeover.began_s

    @property
    def unfinished(self) -> int:
        """Requests that have not ended."""
        return len(self._tracked)

    def _ask_retry(self, tracked: Tracked, reason: RetryReason, now: Moment) -> list[Action]:
        tracked.state, tracked.since_s = State.RETRYING, now.monotonic_s
        request = tracked.request
        if request is None:
            self.waiting.demand(tracked)
            return []
        self._retrying[request.request_id] = None
        return [endings.retry_needed(request, tracked.positions[-1], reason)]

    def _withdraw(self, tracked: Tracked, reason: str) -> list[Action]:
        """The current attempt is of no more use to the replica that has it."""
        replica = self.fleet.get(tracked.replica_id)
        if replica is not None and tracked.key in replica.assigned:
            return [Withdraw(replica.replica_id, replica.inbox, *tracked.key, reason)]
        return []

    def _end_once_read(self, tracked: Tracked, pending: PendingEnd) -> list[Action]:
        """An end that is decided, of a request whose record is left in the log."""
        self._early.pending_ends.remember(tracked.request_id, pending)
        self.waiting.demand(tracked)
        return []

    def _end_undelivered(
        self, tracked: Tracked, end: End, now: Moment, *, told_attempt: int | None = None
    ) -> list[Action]:
        """An end that the dispatcher makes, with what was delivered so far."""
        delivered = tracked.request.delivered if tracked.request else ()
        return self._end(tracked, end, delivered, now, tell=True, told_attempt=told_attempt)

    def _end(
        self,
        tracked: Tracked,
        end: End,
        choices: tuple[Delivered, ...],
        now: Moment,
        *,
        tell: bool = False,
        told_attempt: int | None = None,
    ) -> list[Action]:
        """The request's one end; no replica goes on with it."""
        request = tracked.request
        if request is None:
            raise AssertionError(f"{tracked.request_id} ends before its record was read again")
        actions: list[Action] = []
        if tracked.state is State.ASSIGNED:
            actions = self._withdraw(tracked, end.error.code if end.error else end.outcome)
        self.waiting.forget(tracked)
        del self._tracked[tracked.request_id]
        self._retrying.pop(tracked.request_id, None)
        self.completions.end(tracked, request, end, choices, now)
        if tell:
            actions.append(endings.reply_ended(request, end, choices, told_attempt))
        return actions

    def _tell_ended(
        self, request: InferenceRequested, position: LogPosition, told_attempt: int | None = None
    ) -> list[Action]:
        """A record came after its request's end, which its sender is told again."""
        self.completions.finish(position)
        end, choices = self.completions.ended.get(request.request_id) or (endings.already_ended(), ())
        return [endings.reply_ended(request, end, choices, told_attempt)]
