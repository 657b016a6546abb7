"""The state of one model's dispatching, and what each event does to it.

A request is *waiting*, *assigned* to a replica, or *retrying*: its replica died, and
the gateway that follows the stream is to publish the next attempt. How it ends is told
in `request_ends.py`.
"""

from dataclasses import dataclass

from schemas.errors import ErrorCode, RetryReason
from schemas.inference import (
    CancelRequested,
    End,
    InferenceRequested,
    LogPosition,
    Outcome,
    ReplicaBeat,
    RequestFinished,
)
from services.inference.domain.dispatch import endings
from services.inference.domain.dispatch.actions import Action, Assign, Moment, Withdraw
from services.inference.domain.dispatch.completions import Completions
from services.inference.domain.dispatch.memory import EarlyReports, PendingEnd
from services.inference.domain.dispatch.poison_requests import PoisonRequests
from services.inference.domain.dispatch.queue.waiting import Waiting
from services.inference.domain.dispatch.request_ends import RequestEnds
from services.inference.domain.dispatch.request_table import RequestTable
from services.inference.domain.dispatch.rules import DispatchRules
from services.inference.domain.dispatch.takeover import Takeover
from services.inference.domain.dispatch.tracked import State, Tracked
from services.inference.domain.offsets import OffsetTracker
from services.inference.domain.replicas import AttemptKey, Fleet, Replica
from services.inference.domain.unreadable import ANY_ATTEMPT


@dataclass
class Dispatch:
    """One model's dispatching from a takeover on; `trackers` are by a lane's topic."""

    rules: DispatchRules
    trackers: dict[str, OffsetTracker]
    takeover: Takeover

    def __post_init__(self) -> None:
        self.fleet, self.requests = Fleet(), RequestTable()
        self.completions = Completions(self.rules, self.trackers)
        self.waiting = Waiting(self.rules.read_ahead, self.trackers, self.requests)
        self.poison = PoisonRequests(self.rules)
        self._early = EarlyReports()
        self._ends = RequestEnds(self.requests, self.fleet, self.waiting, self.completions, self._early)
        self._ticked_s = self.takeover.began_s

    # What happens.

    def on_request(
        self,
        request: InferenceRequested,
        position: LogPosition,
        now: Moment,
        *,
        size_bytes: int = 0,
        traceparent: str | None = None,
    ) -> list[Action]:
        """A record of a lane was read."""
        if not self.completions.read(position):
            return []
        known = self.requests.get(request.request_id)
        if known is not None:
            if position in known.positions:
                return []
            known.add_record(position)
            if request.attempt <= known.attempt:  # two reply streams may ask: the second's is a duplicate
                return []
            self.waiting.supersede(known)
            actions = self._ends.withdraw(known, "superseded")
            known.take(request, size_bytes, traceparent)
            return actions + self._begin(known, now)
        if self.completions.ended_before(request):
            return self._ends.tell_ended(request, position)
        tracked = Tracked.of(
            request, position, now.monotonic_s, size_bytes=size_bytes, traceparent=traceparent
        )
        self.requests[request.request_id] = tracked
        return self._begin(tracked, now)

    def on_deferred(self, request: InferenceRequested, position: LogPosition, now: Moment) -> list[Action]:
        """A record that had been left in the log was read again."""
        tracked = self.waiting.restore(request, position)
        if tracked is None:
            return []
        return (self._on_known_again(tracked, now) or []) + self._serve(now)

    def on_gone(self, position: LogPosition, now: Moment) -> list[Action]:
        """Retention took a record that was left in the log: what waits there ends as
        failed; what runs already needs it no more.
        """
        tracked = self.waiting.lose(position)
        if tracked is None:
            return []
        tracked.restore(tracked.stand_in(self.rules.model))
        over = self._on_known_again(tracked, now)
        if over is None and tracked.state is State.WAITING:
            over = self._ends.end_undelivered(tracked, endings.lost(), now)
        return (over or []) + self._serve(now)

    def on_unreadable(self, stand_in: InferenceRequested, position: LogPosition, now: Moment) -> list[Action]:
        """A record of a lane cannot be read: its request fails, as far as `stand_in`
        says whose it is; its attempt is ANY_ATTEMPT where that is not known.
        """
        if not self.completions.read(position):
            return []
        said = stand_in.attempt
        known = 1 if said == ANY_ATTEMPT else said
        request = stand_in.model_copy(update={"attempt": known})
        tracked = self.requests.get(request.request_id)
        if tracked is None:
            if self.completions.ended_before(request):
                return self._ends.tell_ended(request, position, said)
            tracked = Tracked.of(request, position, now.monotonic_s, size_bytes=0, traceparent=None)
            self.requests[request.request_id] = tracked
        else:
            tracked.add_record(position)
            if said <= tracked.attempt:  # of an attempt that is past
                return []
        pending = PendingEnd(endings.unreadable(), said)
        if tracked.request is None:
            return self._ends.end_once_read(tracked, pending)
        tracked.restore(tracked.request.model_copy(update={"attempt": max(tracked.attempt, known)}))
        return self._ends.end_undelivered(tracked, pending.end, now, told_attempt=said) + self._serve(now)

    def on_refused(self, request_id: str, attempt: int, now: Moment) -> list[Action]:
        """An assignment is too large for the bus."""
        tracked = self.requests.get(request_id)
        if tracked is None or tracked.key != (request_id, attempt):
            return []
        self.fleet.release(tracked.replica_id, tracked.key)
        return self._ends.end_undelivered(tracked, endings.too_large(), now) + self._serve(now)

    def on_refusal(self, cancel: CancelRequested) -> None:
        """A request's client was told that the bus did not take it: it costs nothing."""
        if cancel.reason == ErrorCode.NOT_ACKNOWLEDGED:
            self.completions.refuse(cancel.request_id)

    def skip(self, position: LogPosition) -> None:
        """A record without a key asks for nothing."""
        if self.completions.read(position):
            self.completions.finish(position)

    def on_cancel(self, cancel: CancelRequested, now: Moment) -> list[Action]:
        """Nobody wants a request's answer any more."""
        self.on_refusal(cancel)
        tracked, pending = self.requests.get(cancel.request_id), PendingEnd(End(outcome=Outcome.CANCELLED))
        if tracked is None:
            if cancel.request_id not in self.completions.ended:
                self._early.pending_ends.remember(cancel.request_id, pending)
            return []
        replica = self.fleet.get(tracked.replica_id)
        if tracked.state is State.ASSIGNED and replica is not None:
            tracked.note_cancel()
            return [Withdraw(replica.replica_id, replica.inbox, *tracked.key, cancel.reason)]
        if tracked.request is None:
            return self._ends.end_once_read(tracked, pending)
        return self._ends.end_undelivered(tracked, pending.end, now)

    def on_beat(self, beat: ReplicaBeat, now: Moment, *, live: bool) -> list[Action]:
        """A replica's heartbeat; `live` False for one from before the takeover."""
        replica = self._hear(beat, now, live=live)
        held = {(one.request_id, one.attempt) for one in beat.running}
        self.requests.note_tokens(beat.running)
        actions: list[Action] = []
        for one in beat.running:
            key = (one.request_id, one.attempt)
            if key not in replica.assigned:
                actions += self._on_unexpected(replica, key, now)
            if one.tokens and key in replica.assigned:
                self._on_generating(replica, key)
        if replica.unknown:
            replica.unknown = {key: since_s for key, since_s in replica.unknown.items() if key in held}
        for key, since_s in list(replica.assigned.items()):
            if live and key not in held and now.monotonic_s - since_s > self.rules.lost_work_s:
                actions += self._on_forgotten(replica, key, now)
        return actions + self._serve(now)

    def on_finished(self, finished: RequestFinished, now: Moment) -> list[Action]:
        """A replica is done with an attempt."""
        key = (finished.request_id, finished.attempt)
        held_s = self.fleet.finish(finished.replica_id, key, now.monotonic_s)
        self.completions.throughput.note_held(held_s, now.monotonic_s)
        tracked = self.requests.get(finished.request_id)
        if tracked is None or finished.attempt > tracked.attempt or tracked.request is None:
            if finished.request_id not in self.completions.ended:
                self._early.finished.remember(key, finished)
            if tracked is not None and tracked.request is None:
                self.waiting.demand(tracked)
            return self._serve(now)
        if finished.attempt < tracked.attempt:
            return self._serve(now)
        return self._on_attempt_ended(tracked, finished, now) + self._serve(now)

    def on_tick(self, now: Moment) -> list[Action]:
        """Time passes: silent replicas are given up, the expired ended, the takeover
        concluded.

        Not called while the bus is away. A gap between two calls, whether the bus or
        this process stood still, is nobody's silence.
        """
        rules, gap_s = self.rules, now.monotonic_s - self._ticked_s
        self._ticked_s = now.monotonic_s
        if gap_s > rules.replica_silence_s:
            self.poison.note_disturbance(now.monotonic_s)
        if gap_s > rules.replica_silence_s / 2:
            self.fleet.forgive(now.monotonic_s + rules.reconnect_s - rules.replica_silence_s, gap_s)
            for tracked in self.requests.values():
                tracked.shift_clock(gap_s)
        actions: list[Action] = []
        silent = self.fleet.remove_silent(now.monotonic_s, rules.replica_silence_s, rules.takeover_silence_s)
        for replica in silent:
            suspects = [self.requests.get(key[0]) for key in self.poison.suspects_of(replica)]
            aboard = [one for one in suspects if one is not None and one.key in replica.assigned]
            self.poison.record_death(replica, aboard, now.monotonic_s)
            for key in list(replica.assigned):
                actions += self._on_lost(replica, key, now)
        self.takeover.conclude(self.fleet, now.monotonic_s, rules.takeover_listen_s)
        if not self.takeover.under_way:
            actions += self._on_time(now)
        return actions + self._serve(now)

    # What is asked.

    def has_room(self, topic: str) -> bool:
        """Whether a lane may be read on: the map of its unfinished records will fit into
        a commit's metadata however they end.
        """
        tracker = self.trackers[topic]
        backlog = self.waiting.backlogs[topic]
        return not backlog.knows_enough and tracker.has_room(tracker.unfinished - backlog.deferred)

    # A request's way.

    def _begin(self, tracked: Tracked, now: Moment) -> list[Action]:
        """A request, or a further attempt at it, was read."""
        self.requests.note_attempt(tracked.request_id)
        over = self._already_over(tracked, now)
        if over is not None:
            return over
        if tracked.attempt > self.rules.max_attempts:
            return self._ends.end_undelivered(tracked, endings.gave_up(self.rules.max_attempts), now)
        tracked.wait(now.monotonic_s)
        self.waiting.watch_deadline(tracked)
        request, replica = tracked.request, None if self.takeover.under_way else self.fleet.idlest()
        if request is not None and replica is not None and not (tracked.killed or len(self.waiting.queue)):
            return [self._assign(tracked, request, replica, now)]
        self.waiting.add(tracked)
        return [] if replica is None else self._serve(now)

    def _already_over(self, tracked: Tracked, now: Moment) -> list[Action] | None:
        """What to do where the request's end is known; None where it is not."""
        request = tracked.request
        if request is None:
            return None
        if request.ended is not None:
            return self._ends.end(tracked, request.ended, request.delivered, now)
        early = self._early.finished.pop(tracked.key) if self._early.finished else None
        if early is not None:
            return self._on_attempt_ended(tracked, early, now)
        pending = self._early.pending_ends.pop(request.request_id) if self._early.pending_ends else None
        if pending is None and not self.takeover.under_way and request.deadline <= now.utc:
            pending = PendingEnd(endings.expired())
        if pending is None:
            return None
        return self._ends.end_undelivered(tracked, pending.end, now, told_attempt=pending.told_attempt)

    def _on_known_again(self, tracked: Tracked, now: Moment) -> list[Action] | None:
        """A request is at hand again, or what is known of it: what there is to do; None
        where it goes on.
        """
        over = self._already_over(tracked, now)
        if over is None and tracked.state is State.RETRYING:
            return self._ends.ask_retry(tracked, RetryReason.REPLICA_LOST, now)
        return over

    def _on_attempt_ended(self, tracked: Tracked, finished: RequestFinished, now: Moment) -> list[Action]:
        actions, end = list[Action](), finished.end
        if finished.replica_id != tracked.replica_id:  # another had it, too
            actions = self._ends.withdraw(tracked, "superseded")
            tracked.note_finisher(finished.replica_id)
        if end.retryable:
            tracked.count_fault()
            if tracked.faults < self.rules.max_faults:
                self.waiting.remove(tracked)
                return actions + self._ends.ask_retry(tracked, RetryReason.REPLICA_GAVE_UP, now)
        return actions + self._ends.end(tracked, end, finished.choices, now, tell=end.retryable)

    def _serve(self, now: Moment) -> list[Action]:
        """Gives what waits to free slots; suspects of a replica's death one a replica."""
        actions, queue, passed_over = list[Action](), self.waiting.queue, set[str]()
        if not len(queue) or self.takeover.under_way:
            return actions
        while len(queue) > len(passed_over):
            replica = self.fleet.idlest()
            tracked = self.waiting.pop(passed_over) if replica is not None else None
            if tracked is None or tracked.request is None:
                break
            if tracked.killed:
                replica = self.fleet.idlest(suspect=True)
            if replica is None:
                self.waiting.add(tracked)
                passed_over.add(tracked.request_id)
                continue
            actions.append(self._assign(tracked, tracked.request, replica, now))
        return actions

    def _assign(self, tracked: Tracked, request: InferenceRequested, replica: Replica, now: Moment) -> Assign:
        tracked.assign(replica.replica_id, now.monotonic_s)
        replica.take(tracked.key, now.monotonic_s, suspect=bool(tracked.killed))
        return Assign(
            replica.replica_id,
            replica.inbox,
            request,
            tracked.positions[-1],
            len(self.waiting.queue),
            tracked.traceparent,
        )

    # Replicas.

    def _hear(self, beat: ReplicaBeat, now: Moment, *, live: bool) -> Replica:
        """The replica that beats, alive."""
        seen_s = now.monotonic_s if live else self.takeover.began_s
        if not live:  # another dispatcher was there, and may have died with replicas of its
            self.poison.note_disturbance(seen_s, deaths=2)
        if self.fleet.get(beat.replica_id) is None:
            self.poison.clear_death(self.requests.values(), beat.replica_id)
        caught_up = self.takeover.has_caught_up(beat, live=live)
        return self.fleet.beat(beat, now_s=seen_s, confirmed=caught_up)

    def _on_unexpected(self, replica: Replica, key: AttemptKey, now: Moment) -> list[Action]:
        """A replica runs what it is not known to hold: adopted where it is the current
        attempt, withdrawn where it is past.
        """
        request_id, attempt = key
        tracked = self.requests.get(request_id)
        if tracked is None and request_id not in self.completions.ended:
            since_s = replica.unknown.setdefault(key, now.monotonic_s)
            if now.monotonic_s - since_s <= self.rules.lost_work_s or not self.takeover.lanes_read:
                return []
        if tracked is not None and tracked.key == key and tracked.state is State.WAITING:
            self.waiting.remove(tracked)
            if tracked.request is None:
                self.waiting.demand(tracked)
            tracked.assign(replica.replica_id, replica.beat_s)
            replica.take(key, replica.beat_s, suspect=tracked.kills > 0)
            return []
        if tracked is not None and attempt >= tracked.attempt:
            return []
        return [Withdraw(replica.replica_id, replica.inbox, request_id, attempt, "superseded")]

    def _on_generating(self, replica: Replica, key: AttemptKey) -> None:
        """An attempt has tokens; after a while it is no suspect any more."""
        replica.note_generating(key, replica.beat_s)
        if key in replica.suspects and self.poison.is_cleared(replica, key):
            replica.suspects.discard(key)
            tracked = self.requests.get(key[0])
            if tracked is not None:
                tracked.clear_suspicion()

    def _on_forgotten(self, replica: Replica, key: AttemptKey, now: Moment) -> list[Action]:
        """A living replica no longer knows of an attempt that it was given."""
        tracked = self.requests.get(key[0])
        if tracked is not None and tracked.key == key:
            tracked.count_fault()
        return self._on_lost(replica, key, now)

    def _on_lost(self, replica: Replica, key: AttemptKey, now: Moment) -> list[Action]:
        """An attempt will not be finished by its replica."""
        replica.release(key)
        tracked = self.requests.get(key[0])
        if tracked is None or tracked.key != key or tracked.state is not State.ASSIGNED:
            return []
        died_of_it = replica.replica_id in tracked.killed
        if tracked.request is not None and died_of_it and self.poison.is_poison(tracked, now.monotonic_s):
            return self._ends.end_undelivered(tracked, endings.killed_replicas(tracked.kills), now)
        if tracked.request is not None and tracked.faults >= self.rules.max_faults:
            return self._ends.end_undelivered(tracked, endings.gave_up(tracked.attempt), now)
        return self._ends.ask_retry(tracked, RetryReason.REPLICA_LOST, now)

    def _on_time(self, now: Moment) -> list[Action]:
        """What is overdue: deadlines, and attempts that nobody asks for."""
        actions: list[Action] = []
        for tracked in self.waiting.due(now.utc):
            late_s = (now.utc - tracked.deadline).total_seconds()
            if tracked.request is None:
                self.waiting.demand(tracked)
            elif tracked.state is State.WAITING or late_s > self.rules.overdue_s:
                actions += self._ends.end_undelivered(tracked, endings.expired(), now)
            else:
                self.waiting.watch_deadline(tracked, endings.later(tracked.deadline, self.rules.overdue_s))
        for tracked in self.requests.unanswered(now.monotonic_s, self.rules.retry_answer_s):
            actions += self._ends.end_undelivered(tracked, endings.unanswered(), now)
        return actions
