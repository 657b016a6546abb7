"""How each request ends once, and how a further attempt at it is asked for."""

from dataclasses import dataclass

from schemas.errors import RetryReason
from schemas.inference import Delivered, End, InferenceRequested, LogPosition, Outcome
from services.inference.domain.dispatch import endings
from services.inference.domain.dispatch.actions import Action, Moment, Withdraw
from services.inference.domain.dispatch.completions import Completions
from services.inference.domain.dispatch.memory import EarlyReports, PendingEnd
from services.inference.domain.dispatch.queue.waiting import Waiting
from services.inference.domain.dispatch.request_table import RequestTable
from services.inference.domain.dispatch.tracked import State, Tracked
from services.inference.domain.replicas import Fleet


@dataclass
class RequestEnds:
    """Ends requests, each once, and asks for further attempts."""

    table: RequestTable
    fleet: Fleet
    waiting: Waiting
    completions: Completions
    early: EarlyReports

    def ask_retry(self, tracked: Tracked, reason: RetryReason, now: Moment) -> list[Action]:
        """Asks for the next attempt; a record that is left in the log is read first.

        A request that was cancelled ends instead.
        """
        tracked.await_retry(now.monotonic_s)
        request = tracked.request
        if tracked.cancelled:
            pending = PendingEnd(End(outcome=Outcome.CANCELLED))
            if request is None:
                return self.end_once_read(tracked, pending)
            return self.end_undelivered(tracked, pending.end, now)
        if request is None:
            self.waiting.demand(tracked)
            return []
        self.table.await_retry(tracked)
        return [endings.retry_needed(request, tracked.positions[-1], reason)]

    def withdraw(self, tracked: Tracked, reason: str) -> list[Action]:
        """The current attempt is of no more use to the replica that has it."""
        replica = self.fleet.get(tracked.replica_id)
        if replica is not None and tracked.key in replica.assigned:
            return [Withdraw(replica.replica_id, replica.inbox, *tracked.key, reason)]
        return []

    def end_once_read(self, tracked: Tracked, pending: PendingEnd) -> list[Action]:
        """An end that is decided, of a request whose record is left in the log."""
        self.early.pending_ends.remember(tracked.request_id, pending)
        self.waiting.demand(tracked)
        return []

    def end_undelivered(
        self, tracked: Tracked, end: End, now: Moment, *, told_attempt: int | None = None
    ) -> list[Action]:
        """An end that the dispatcher makes, with what was delivered and used so far."""
        delivered = tracked.request.delivered if tracked.request else ()
        end = end.model_copy(update={"usage": tracked.usage()})
        return self.end(tracked, end, delivered, now, tell=True, told_attempt=told_attempt)

    def end(
        self,
        tracked: Tracked,
        end: End,
        choices: tuple[Delivered, ...],
        now: Moment,
        *,
        tell: bool = False,
        told_attempt: int | None = None,
    ) -> list[Action]:
        """The request's one end: it leaves the table and its replica, its records are
        finished, and its `InferenceCompleted` is to be committed with their offsets.
        """
        request = tracked.request
        if request is None:
            raise AssertionError(f"{tracked.request_id} ends before its record was read again")
        actions: list[Action] = []
        if tracked.state is State.ASSIGNED:
            actions = self.withdraw(tracked, end.error.code if end.error else end.outcome)
        self.waiting.forget(tracked)
        self.table.remove(tracked)
        self.completions.end(tracked, request, end, choices, now)
        if tell:
            actions.append(endings.reply_ended(request, end, choices, told_attempt))
        return actions

    def tell_ended(
        self, request: InferenceRequested, position: LogPosition, told_attempt: int | None = None
    ) -> list[Action]:
        """A record came after its request's end, which its sender is told again."""
        self.completions.finish(position)
        end, choices = self.completions.ended.get(request.request_id) or (endings.already_ended(), ())
        return [endings.reply_ended(request, end, choices, told_attempt)]
