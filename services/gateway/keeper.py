"""Looks after every request that this gateway follows: silence, deadlines, clients that
left, ends that may have to be told again.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from schemas.inference import InferenceRequested, LogPosition, RetryNeeded
from schemas.topics import requests_topic
from services.common import metrics
from services.common.clock import Clock, MonotonicClock
from services.gateway.bus_watch import BusWatch
from services.gateway.domain.problems import not_in_time, unavailable
from services.gateway.domain.streams import Phase
from services.gateway.follower import Follower
from services.gateway.outbox import Outbox
from services.gateway.queue_board import QueueBoard
from services.gateway.replies import ReplyReader
from services.gateway.settings import Settings

log = structlog.get_logger(__name__)

_TICK_S = 0.25
_AFTERLIFE_S = 10.0
"""How long an ended request is remembered: a dispatcher that lost its end asks for it
within a few seconds.
"""
_PATIENCE_S = 0.5
"""A stream that waits longer is told where it stands."""
_GRACE = timedelta(seconds=1)
"""The dispatcher, which also knows the deadline, gets the first word."""


@dataclass
class StreamKeeper:
    """Every follower of this gateway with the reader that feeds it."""

    settings: Settings
    outbox: Outbox
    watch: BusWatch
    board: QueueBoard
    clock: Clock
    monotonic: MonotonicClock
    _readers: dict[Follower, ReplyReader] = field(default_factory=dict, init=False)
    _serving: set[Follower] = field(default_factory=set, init=False)
    _leaving: dict[Follower, float] = field(default_factory=dict, init=False)
    _ended: deque[tuple[float, Follower]] = field(default_factory=deque, init=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    @property
    def serving(self) -> int:
        """How many clients are being served."""
        return len(self._serving)

    @property
    def followed(self) -> int:
        """How many requests are followed that have not ended, with or without a client."""
        return len(self._serving) + len(self._leaving)

    def require_room(self) -> None:
        """Passes while there is room for another request.

        Raises:
            ProblemError: 503, there is none.
        """
        if self.followed >= self.settings.max_in_flight:
            raise unavailable(
                f"This gateway already serves {self.settings.max_in_flight} requests. Try again.",
                code="overloaded",
            )

    def follow(
        self,
        request: InferenceRequested,
        reader: ReplyReader,
        *,
        traceparent: str | None = None,
        replaying: bool = False,
    ) -> Follower:
        """A new follower of a request, which hears from now on what its reader reads."""
        follower = Follower(
            request,
            max_attempts=self.settings.max_attempts,
            max_buffered=self.settings.max_buffered_records,
            now=self.monotonic(),
            next_attempt=self._ask_again,
            traceparent=traceparent,
            replaying=replaying,
        )
        self._readers[follower] = reader
        self._serving.add(follower)
        metrics.GATEWAY_FOLLOWED.set(len(self._serving))
        reader.add(follower)
        return follower

    def forget(self, follower: Follower) -> None:
        """Nothing came of the request: it is followed no more."""
        if self._stop_serving(follower):
            self._drop(follower)

    def release(self, follower: Follower, *, window_s: float = 0.0) -> None:
        """The client has its answer, or has left.

        A request that goes on without it is cancelled after `window_s`, unless the
        client reattached meanwhile.
        """
        if not self._stop_serving(follower):
            return
        follower.mute()
        self._leaving[follower] = self.monotonic() + window_s
        self._part_with(follower, self.monotonic())

    def fail_all(self, message: str) -> None:
        """Ends every client's answer.

        Streams go on in the log, for their clients to reattach to; what was to come in
        one piece is cancelled.
        """
        for follower in list(self._serving):
            follower.taken = follower.request.stream
            follower.fail(unavailable(message, code="gateway_stopping").problem)

    async def idle(self) -> None:
        """Waits until no client is served."""
        while self._serving:
            self._changed.clear()
            await self._changed.wait()

    async def run(self) -> None:
        """Looks after them all four times a second, until cancelled."""
        while True:
            self.tick()
            await asyncio.sleep(_TICK_S)

    def tick(self) -> None:
        """Looks after them all once."""
        now = self.monotonic()
        for follower in list(self._serving):
            self._look_after(follower, now)
        self.board.want(wanted=any(self._waits_visibly(follower, now) for follower in self._serving))
        for follower in list(self._leaving):
            self._look_after(follower, now)
            self._part_with(follower, now)
        while self._ended and self._ended[0][0] <= now:
            self._drop(self._ended.popleft()[1])

    def _waits_visibly(self, follower: Follower, now: float) -> bool:
        return (
            follower.state.phase is Phase.WAITING
            and follower.request.stream
            and now - follower.heard_at > _PATIENCE_S
        )

    def _look_after(self, follower: Follower, now: float) -> None:
        phase = follower.state.phase
        if (
            phase is Phase.RUNNING
            and now - max(follower.heard_at, self.watch.steady_since) > self.settings.silence_s
        ):
            self._report_silence(follower, now)
        elif (
            phase is Phase.WAITING
            and follower.problem is None
            and self.clock() > follower.request.deadline + _GRACE
        ):
            waited_s = (follower.request.deadline - follower.request.requested_at).total_seconds()
            follower.fail(not_in_time(waited_s))

    def _report_silence(self, follower: Follower, now: float) -> None:
        """Writes the silence into the log, where every follower of the request reads
        it.
        """
        follower.heard_at = now
        request = follower.request
        origin = follower.origin or LogPosition(
            topic=requests_topic(request.model, request.lane), partition=0, offset=-1
        )
        silence = RetryNeeded(
            request_id=request.request_id,
            tenant=request.tenant,
            attempt=follower.state.attempt,
            reason="silence",
            origin=origin,
        )
        log.warning(
            "replica_silent",
            request_id=request.request_id,
            attempt=follower.state.attempt,
            replica_id=follower.state.replica_id,
        )
        self.outbox.tell_followers(request.reply_to, silence, request.tenant)

    def _ask_again(self, follower: Follower, request: InferenceRequested, reason: str) -> None:
        known = reason if reason in {"gap", "silence", "end_lost", "replica_gave_up"} else "replica_lost"
        metrics.GATEWAY_ATTEMPTS.labels(known).inc()
        log.info("next_attempt", request_id=request.request_id, attempt=request.attempt, reason=reason)

        def acknowledged(position: LogPosition) -> None:
            if follower.state.attempt == request.attempt:
                follower.origin = position

        self.outbox.ask_again(request, follower.traceparent, acknowledged)

    def _part_with(self, follower: Follower, now: float) -> None:
        """Follows a request without a client for as long as there is reason to."""
        if follower.ended:
            del self._leaving[follower]
            self._ended.append((now + _AFTERLIFE_S, follower))
            return
        expired = follower.problem is not None and follower.problem.status == 504
        if follower.taken or expired or now >= self._leaving[follower]:
            del self._leaving[follower]
            if not follower.taken:
                self.outbox.cancel(
                    follower.request, follower.problem.code if follower.problem else "client_left"
                )
            self._drop(follower)

    def _stop_serving(self, follower: Follower) -> bool:
        if follower not in self._serving:
            return False
        self._serving.remove(follower)
        metrics.GATEWAY_FOLLOWED.set(len(self._serving))
        self._changed.set()
        return True

    def _drop(self, follower: Follower) -> None:
        self._readers.pop(follower).remove(follower)
