"""One model's dispatching, without I/O: what happened goes in, what to do about it
comes out.

A request is *waiting*, *assigned* to a replica, or *retrying*: its replica died, and
whoever follows the stream is to publish the next attempt. It ends exactly once: `_end`
takes it out, marks every record of it as finished and puts its `InferenceCompleted`
into `ends`, which the shell commits in the same transaction as the offsets.

After a takeover nothing is assigned and nothing expires until each replica that the log
knows has either beaten with its inbox read up to the takeover, or stayed silent: then
what runs is known, and nothing is started twice.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TypeVar

from schemas.errors import ErrorCode, RetryReason
from schemas.inference import (
    CancelRequested,
    Delivered,
    End,
    ErrorDetail,
    InferenceCompleted,
    InferenceRequested,
    Lane,
    LogPosition,
    Outcome,
    QueueStatus,
    ReplicaBeat,
    ReplyEnded,
    ReplyTo,
    RequestFinished,
    RetryNeeded,
)
from services.common.completion import completed_event
from services.common.model_catalogue import Price
from services.inference.domain.offsets import OffsetTracker
from services.inference.domain.queue import FairQueue
from services.inference.domain.replicas import AttemptKey, Fleet, Replica

Key = TypeVar("Key")
Value = TypeVar("Value")

_REMEMBERED = 4096
_POSITIONS_SHOWN = 200


@dataclass(frozen=True, slots=True)
class DispatchRules:
    """What a dispatcher goes by; times in seconds.

    `takeover_silence_s` and `reconnect_s` are how long replicas may take to be heard of
    after a takeover, and after the bus was away: they reconnect at their own pace.
    """

    model: str
    price: Price
    store_text: bool = False
    max_attempts: int = 5
    replica_silence_s: float = 1.0
    takeover_listen_s: float = 0.6
    takeover_silence_s: float = 3.0
    reconnect_s: float = 2.0
    lost_work_s: float = 2.0
    retry_answer_s: float = 10.0
    overdue_s: float = 5.0


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
    """Say something to whoever follows a stream."""

    to: ReplyTo
    reply: ReplyEnded | RetryNeeded


Action = Assign | Withdraw | Tell


class _State(Enum):
    WAITING = 1
    ASSIGNED = 2
    RETRYING = 3


@dataclass(slots=True)
class _Tracked:
    request: InferenceRequested
    positions: list[LogPosition]
    since_s: float
    state: _State = _State.WAITING
    replica_id: str = ""

    @property
    def key(self) -> AttemptKey:
        return self.request.request_id, self.request.attempt


@dataclass
class Dispatch:
    """The state of one model's dispatching, from a takeover on.

    `barrier` maps an inbox partition to its end when the takeover began, at `began_s`.
    """

    rules: DispatchRules
    trackers: dict[str, OffsetTracker]
    barrier: Mapping[int, int]
    began_s: float
    ends: list[InferenceCompleted] = field(default_factory=list)
    finished_unrecorded: bool = False

    def __post_init__(self) -> None:
        self.fleet = Fleet()
        self.queue = FairQueue()
        self._tracked: dict[str, _Tracked] = {}
        self._taking_over = True  # until the running work is known
        self._ended: OrderedDict[str, tuple[End, tuple[Delivered, ...]]] = OrderedDict()
        self._early_ends: OrderedDict[AttemptKey, RequestFinished] = OrderedDict()
        self._early_cancels: OrderedDict[str, CancelRequested] = OrderedDict()
        self._ticked_s = self.began_s
        self._recent_ends: list[float] = []

    # What happens.

    def on_request(self, request: InferenceRequested, position: LogPosition, now: Moment) -> list[Action]:
        """A record of a lane was read."""
        tracker = self.trackers[position.topic]
        if not tracker.read(position.offset):
            return []
        known = self._tracked.get(request.request_id)
        if known is not None:
            return self._on_further_attempt(known, request, position, now)
        if request.request_id in self._ended or self._ended_before(request):
            return self._tell_ended(request, position)
        self._tracked[request.request_id] = tracked = _Tracked(request, [position], now.monotonic_s)
        return self._begin(tracked, now)

    def skip(self, position: LogPosition) -> None:
        """A record that cannot be read asks for nothing."""
        if self.trackers[position.topic].read(position.offset):
            self.trackers[position.topic].finish(position.offset)
            self.finished_unrecorded = True

    def on_cancel(self, cancel: CancelRequested, now: Moment) -> list[Action]:
        """Nobody wants a request's answer any more."""
        tracked = self._tracked.get(cancel.request_id)
        if tracked is None:
            if cancel.request_id not in self._ended:
                _remember(self._early_cancels, cancel.request_id, cancel)
            return []
        replica = self.fleet.get(tracked.replica_id)
        if tracked.state is _State.ASSIGNED and replica is not None:
            return [Withdraw(replica.replica_id, replica.inbox, *tracked.key, cancel.reason)]
        return self._end(tracked, End(outcome=Outcome.CANCELLED), tracked.request.delivered, now, tell=True)

    def on_beat(self, beat: ReplicaBeat, now: Moment, *, live: bool) -> list[Action]:
        """A replica's heartbeat; `live` False for one from before the takeover."""
        caught_up = live and (not self._taking_over or beat.inbox_position >= self.barrier.get(beat.inbox, 0))
        replica = self.fleet.beat(beat, now_s=now.monotonic_s if live else self.began_s, confirmed=caught_up)
        held = {(one.request_id, one.attempt) for one in beat.running}
        actions = [
            action
            for key in held
            if key not in replica.assigned
            for action in self._on_unexpected(replica, key, now)
        ]
        for key, since_s in list(replica.assigned.items()):
            if live and key not in held and now.monotonic_s - since_s > self.rules.lost_work_s:
                actions += self._on_lost(replica, key, now)
        return actions + self._serve(now)

    def on_finished(self, finished: RequestFinished, now: Moment) -> list[Action]:
        """A replica is done with an attempt."""
        key = (finished.request_id, finished.attempt)
        self.fleet.release(finished.replica_id, key)
        tracked = self._tracked.get(finished.request_id)
        if tracked is None or finished.attempt > tracked.request.attempt:
            if finished.request_id not in self._ended:
                _remember(self._early_ends, key, finished)
            return self._serve(now)
        if finished.attempt < tracked.request.attempt:
            return self._serve(now)
        return self._on_attempt_ended(tracked, finished, now) + self._serve(now)

    def on_tick(self, now: Moment) -> list[Action]:
        """Time passes: the dead are buried, the expired ended, the takeover concluded.

        Not called while the bus is away. A gap between two calls, whether the bus or
        this process stood still, is nobody's silence.
        """
        rules, gap_s = self.rules, now.monotonic_s - self._ticked_s
        self._ticked_s = now.monotonic_s
        if gap_s > rules.replica_silence_s / 2:
            self._forgive(gap_s, now)
        actions: list[Action] = []
        for replica in self.fleet.bury_silent(
            now.monotonic_s, rules.replica_silence_s, rules.takeover_silence_s
        ):
            for key in replica.assigned:
                actions += self._on_lost(replica, key, now)
        self._conclude_takeover(now)
        if not self._taking_over:
            for tracked in [one for one in self._tracked.values() if self._is_overdue(one, now)]:
                actions += self._on_overdue(tracked, now)
        return actions + self._serve(now)

    def _forgive(self, gap_s: float, now: Moment) -> None:
        self.fleet.forgive(now.monotonic_s + self.rules.reconnect_s - self.rules.replica_silence_s)
        for tracked in self._tracked.values():
            tracked.since_s += gap_s
        for replica in self.fleet:
            replica.assigned = {key: since_s + gap_s for key, since_s in replica.assigned.items()}

    # What is asked.

    @property
    def unfinished(self) -> int:
        """Records that were read and have not ended; the shell reads no further than a
        bound on it.
        """
        return max((tracker.unfinished for tracker in self.trackers.values()), default=0)

    def take_ends(self) -> list[InferenceCompleted]:
        """What ended since the last call, to be committed together with the trackers'
        commit points.
        """
        ends, self.ends, self.finished_unrecorded = self.ends, [], False
        return ends

    def status(self, dispatcher_id: str, host: str, pid: int, now: Moment) -> QueueStatus:
        """The queue as clients and operators may see it.

        `eta_ms` is the mean time between two ends: the wait of the first in the queue.
        """
        self._recent_ends = [at for at in self._recent_ends if now.monotonic_s - at < 10.0]
        rate = len(self._recent_ends) / 10.0
        order = self.queue.in_order()[:_POSITIONS_SHOWN]
        return QueueStatus(
            dispatcher_id=dispatcher_id,
            model=self.rules.model,
            host=host,
            pid=pid,
            active=True,
            waiting={lane: self.queue.waiting(lane) for lane in Lane},
            running=self.fleet.running,
            slots=self.fleet.slots,
            eta_ms=1000.0 / rate if rate else None,
            positions={request_id: place for place, request_id in enumerate(order, start=1)},
        )

    # A request's way.

    def _begin(self, tracked: _Tracked, now: Moment) -> list[Action]:
        request = tracked.request
        if request.ended is not None:
            return self._end(tracked, request.ended, request.delivered, now)
        early = self._early_ends.pop(tracked.key, None)
        if early is not None:
            return self._on_attempt_ended(tracked, early, now)
        cancel = self._early_cancels.pop(request.request_id, None)
        if cancel is not None:
            return self._end(tracked, End(outcome=Outcome.CANCELLED), request.delivered, now, tell=True)
        if not self._taking_over and request.deadline <= now.utc:
            return self._expire(tracked, now)
        if request.attempt > self.rules.max_attempts:
            return self._give_up(tracked, now)
        tracked.state, tracked.since_s = _State.WAITING, now.monotonic_s
        self.queue.push(
            request.request_id, lane=request.lane, tenant=request.tenant, retry=request.attempt > 1
        )
        return self._serve(now)

    def _on_further_attempt(
        self, known: _Tracked, request: InferenceRequested, position: LogPosition, now: Moment
    ) -> list[Action]:
        """A reply stream of the stream gave the earlier attempt up.

        Two reply streams may do so: the second's is a duplicate.
        """
        if position in known.positions:
            return []
        known.positions.append(position)
        if request.attempt <= known.request.attempt:
            return []
        actions: list[Action] = []
        self.queue.remove(request.request_id)
        replica = self.fleet.get(known.replica_id)
        if replica is not None and known.key in replica.assigned:
            actions.append(Withdraw(replica.replica_id, replica.inbox, *known.key, "superseded"))
        known.request, known.replica_id = request, ""
        return actions + self._begin(known, now)

    def _on_attempt_ended(self, tracked: _Tracked, finished: RequestFinished, now: Moment) -> list[Action]:
        tracked.replica_id = finished.replica_id
        if finished.end.retryable and tracked.request.attempt < self.rules.max_attempts:
            return self._ask_retry(tracked, RetryReason.REPLICA_GAVE_UP, now)
        return self._end(tracked, finished.end, finished.choices, now, tell=finished.end.retryable)

    def _serve(self, now: Moment) -> list[Action]:
        """Gives what waits to free slots."""
        actions: list[Action] = []
        while not self._taking_over and len(self.queue):
            replica = self.fleet.idlest()
            if replica is None:
                break
            request_id = self.queue.pop()
            if request_id is not None:
                actions.append(self._assign(self._tracked[request_id], replica, now))
        return actions

    def _assign(self, tracked: _Tracked, replica: Replica, now: Moment) -> Assign:
        tracked.state, tracked.replica_id, tracked.since_s = (
            _State.ASSIGNED,
            replica.replica_id,
            now.monotonic_s,
        )
        replica.assigned[tracked.key] = now.monotonic_s
        return Assign(
            replica.replica_id, replica.inbox, tracked.request, tracked.positions[-1], len(self.queue)
        )

    def _ask_retry(self, tracked: _Tracked, reason: RetryReason, now: Moment) -> list[Action]:
        tracked.state, tracked.since_s = _State.RETRYING, now.monotonic_s
        request = tracked.request
        reply = RetryNeeded(
            request_id=request.request_id,
            tenant=request.tenant,
            attempt=request.attempt,
            reason=reason,
            origin=tracked.positions[-1],
        )
        return [Tell(request.reply_to, reply)]

    # Replicas that fail.

    def _on_unexpected(self, replica: Replica, key: AttemptKey, now: Moment) -> list[Action]:
        """A replica runs what it is not known to hold: adopted where it is the current
        attempt, withdrawn where it is past.
        """
        request_id, attempt = key
        tracked = self._tracked.get(request_id)
        if tracked is None and request_id not in self._ended:
            return []
        if tracked is not None and tracked.key == key and tracked.state is _State.WAITING:
            self.queue.remove(request_id)
            tracked.state, tracked.replica_id, tracked.since_s = (
                _State.ASSIGNED,
                replica.replica_id,
                now.monotonic_s,
            )
            replica.assigned[key] = now.monotonic_s
            return []
        if tracked is not None and attempt >= tracked.request.attempt:
            return []
        return [Withdraw(replica.replica_id, replica.inbox, request_id, attempt, "superseded")]

    def _on_lost(self, replica: Replica, key: AttemptKey, now: Moment) -> list[Action]:
        """A replica died, or no longer knows of an attempt that it was given."""
        replica.assigned = {one: since_s for one, since_s in replica.assigned.items() if one != key}
        tracked = self._tracked.get(key[0])
        if tracked is None or tracked.key != key or tracked.state is not _State.ASSIGNED:
            return []
        if tracked.request.attempt >= self.rules.max_attempts:
            return self._give_up(tracked, now)
        return self._ask_retry(tracked, RetryReason.REPLICA_LOST, now)

    def _conclude_takeover(self, now: Moment) -> None:
        listened = now.monotonic_s - self.began_s >= self.rules.takeover_listen_s
        if self._taking_over and listened and not self.fleet.unconfirmed:
            self._taking_over = False

    # Ends.

    def _is_overdue(self, tracked: _Tracked, now: Moment) -> bool:
        if tracked.state is _State.RETRYING:
            return now.monotonic_s - tracked.since_s > self.rules.retry_answer_s
        late_s = (now.utc - tracked.request.deadline).total_seconds()
        return late_s > (0 if tracked.state is _State.WAITING else self.rules.overdue_s)

    def _on_overdue(self, tracked: _Tracked, now: Moment) -> list[Action]:
        if tracked.state is _State.RETRYING:
            return self._fail(
                tracked,
                ErrorCode.REPLICA_LOST,
                "the replica died, and nobody who followed the stream asked for it to go on",
                now,
            )
        return self._expire(tracked, now)

    def _expire(self, tracked: _Tracked, now: Moment) -> list[Action]:
        error = ErrorDetail(
            status=504,
            code=ErrorCode.DEADLINE_EXCEEDED,
            message="the request's deadline passed before it was answered",
        )
        return self._end(
            tracked, End(outcome=Outcome.EXPIRED, error=error), tracked.request.delivered, now, tell=True
        )

    def _give_up(self, tracked: _Tracked, now: Moment) -> list[Action]:
        return self._fail(
            tracked,
            ErrorCode.ATTEMPTS_EXHAUSTED,
            f"{self.rules.max_attempts} replicas in turn did not finish this request",
            now,
        )

    def _fail(self, tracked: _Tracked, code: ErrorCode, message: str, now: Moment) -> list[Action]:
        return self._end(
            tracked,
            End(outcome=Outcome.FAILED, error=ErrorDetail(status=503, code=code, message=message)),
            tracked.request.delivered,
            now,
            tell=True,
        )

    def _end(
        self, tracked: _Tracked, end: End, choices: tuple[Delivered, ...], now: Moment, *, tell: bool = False
    ) -> list[Action]:
        """The request's one end."""
        request = tracked.request
        self.queue.remove(request.request_id)
        del self._tracked[request.request_id]
        for position in tracked.positions:
            self.trackers[position.topic].finish(position.offset)
        _remember(self._ended, request.request_id, (end, choices))
        self._recent_ends.append(now.monotonic_s)
        rules = self.rules
        self.ends.append(
            completed_event(
                request,
                end,
                choices,
                replica_id=tracked.replica_id,
                price=rules.price,
                store_text=rules.store_text,
                now=now.utc,
            )
        )
        if not tell:
            return []
        return [
            Tell(
                request.reply_to,
                ReplyEnded(
                    request_id=request.request_id,
                    tenant=request.tenant,
                    attempt=request.attempt,
                    end=end,
                    choices=choices,
                ),
            )
        ]

    def _ended_before(self, request: InferenceRequested) -> bool:
        """An attempt whose predecessor is finished in the log came too late: the
        request has had its end.
        """
        previous = request.previous
        if (
            previous is None or previous.offset < 0
        ):  # a reply stream that reattached may not know where the earlier record lies
            return False
        tracker = self.trackers.get(previous.topic)
        return tracker is not None and tracker.is_finished(previous.offset)

    def _tell_ended(self, request: InferenceRequested, position: LogPosition) -> list[Action]:
        self.trackers[position.topic].finish(position.offset)
        self.finished_unrecorded = True
        unknown = End(
            outcome=Outcome.FAILED,
            error=ErrorDetail(
                status=503,
                code=ErrorCode.ALREADY_ENDED,
                message="the request has ended; its text is no longer at hand",
            ),
        )
        end, choices = self._ended.get(request.request_id, (unknown, ()))
        return [
            Tell(
                request.reply_to,
                ReplyEnded(
                    request_id=request.request_id,
                    tenant=request.tenant,
                    attempt=request.attempt,
                    end=end,
                    choices=choices,
                ),
            )
        ]


def _remember(memory: "OrderedDict[Key, Value]", key: Key, value: Value) -> None:
    memory[key] = value
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)
