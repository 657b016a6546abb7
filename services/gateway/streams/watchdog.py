"""Judges what no record tells: silence, deadlines that pass, clients that stay away.

A judgement is about a moment, and is made only once the reader has read the log up to
that moment. So a gateway that was stopped, or is behind, takes no live replica for a
silent one, and cancels no stream that its client has taken up elsewhere meanwhile.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from schemas.errors import ErrorCode, RetryReason
from schemas.inference import LogPosition, RetryNeeded
from schemas.topics import requests_topic
from services.common.clock import Clock, MonotonicClock
from services.common.control.state import ControlState
from services.common.process.pauses import PauseDetector
from services.gateway.bus.monitor import BusMonitor
from services.gateway.bus.publisher import RequestPublisher
from services.gateway.problems import not_in_time, shut_out
from services.gateway.streams.queue_positions import QueuePositions
from services.gateway.streams.registry import Departure, StreamRegistry
from services.gateway.streams.reply_stream import ReplyStream
from services.gateway.streams.state import Phase

log = structlog.get_logger(__name__)

_TICK_S = 0.25
_PATIENCE_S = 0.5
"""Where a request waits longer, the queue is looked at: its stream is told where it
stands, and what comes next whether it would be served in time.
"""
_GRACE_S = 1.0
"""The dispatcher, which also knows the deadline, gets the first word."""
_SHUT_OUT_EVERY_S = 0.5
_HOLD_S = 10.0
"""A client is kept waiting so long beyond its deadline while the log cannot be read."""


@dataclass
class Watchdog:
    """Looks after every stream of a registry four times a second."""

    registry: StreamRegistry
    publisher: RequestPublisher
    bus_monitor: BusMonitor
    queue_positions: QueuePositions
    pauses: PauseDetector
    silence_s: float
    clock: Clock
    monotonic: MonotonicClock
    control: Callable[[], ControlState]
    _shut_out_at: float = field(default=0.0, init=False)

    async def run(self) -> None:
        """Looks after them until cancelled."""
        while True:
            self.tick()
            if await self.registry.wait_for_departure(_TICK_S):
                self.bus_monitor.hurry()
                await asyncio.sleep(_TICK_S / 5)

    def tick(self) -> None:
        """Looks after them once."""
        now = self.monotonic()
        self.pauses.tick(now)
        self._end_shut_out(now)
        for reply_stream in self.registry.served:
            self._judge(reply_stream, now)
        self.queue_positions.want(
            wanted=any(_waits_long(reply_stream, now) for reply_stream in self.registry.served)
        )
        for reply_stream, departure in self.registry.departures:
            self._judge(reply_stream, now)
            self._part_with(reply_stream, departure, now)
        self.registry.forget_ended(now)

    def close(self) -> None:
        """The gateway stops: takes back what nobody else can take up.

        A stream goes on in the log, where its client finds it, and so does what has an
        idempotency key; any other answer in one piece is of use to nobody.
        """
        for reply_stream, _ in self.registry.departures:
            useful = reply_stream.request.stream or reply_stream.recorded or reply_stream.taken
            if not (useful or reply_stream.ended):
                self._cancel(reply_stream)

    def _end_shut_out(self, now: float) -> None:
        """Takes back, twice a second, what is under way for keys, users and tenants that
        were shut meanwhile. Its client is told; what has none is cancelled at once.
        """
        if now < self._shut_out_at:
            return
        self._shut_out_at = now + _SHUT_OUT_EVERY_S
        state, at = self.control(), self.clock()
        for reply_stream in self.registry.served:
            if not reply_stream.ended and reply_stream.admitted.is_shut_out(state, at):
                reply_stream.fail(shut_out().problem)
        for reply_stream, _ in self.registry.departures:
            useless = not (reply_stream.ended or reply_stream.taken)
            if useless and reply_stream.admitted.is_shut_out(state, at):
                reply_stream.fail(shut_out().problem)
                self._cancel(reply_stream)

    def _judge(self, reply_stream: ReplyStream, now: float) -> None:
        if reply_stream.state.phase is Phase.RUNNING:
            self._judge_silence(reply_stream, now)
        elif reply_stream.state.phase is Phase.WAITING and reply_stream.problem is None:
            self._judge_deadline(reply_stream, now)

    def _judge_silence(self, reply_stream: ReplyStream, now: float) -> None:
        quiet_since = max(reply_stream.heard_at, self.bus_monitor.steady_since, self.pauses.woke_at(now))
        if now - quiet_since <= self.silence_s:
            return
        if self._read_up_to(reply_stream) - quiet_since <= self.silence_s:
            self.bus_monitor.hurry()
            return
        self._report_silence(reply_stream, now)

    def _judge_deadline(self, reply_stream: ReplyStream, now: float) -> None:
        request = reply_stream.request
        late_s = (self.clock() - request.deadline).total_seconds() - _GRACE_S
        if late_s <= 0:
            return
        unread = self._read_up_to(reply_stream) < max(now - late_s, self.pauses.woke_at(now))
        if unread and min(late_s, now - self.pauses.woke_at(now)) <= _HOLD_S:
            self.bus_monitor.hurry()
            return
        reply_stream.fail(not_in_time((request.deadline - request.requested_at).total_seconds()))

    def _report_silence(self, reply_stream: ReplyStream, now: float) -> None:
        """Writes the silence into the log, where every reply stream of the request
        reads it.
        """
        reply_stream.silence_reported(now)
        request = reply_stream.request
        origin = reply_stream.origin or LogPosition(
            topic=requests_topic(request.model, request.lane), partition=0, offset=-1
        )
        silence = RetryNeeded(
            request_id=request.request_id,
            tenant=request.tenant,
            attempt=reply_stream.state.attempt,
            reason=RetryReason.SILENCE,
            origin=origin,
        )
        log.warning(
            "replica_silent",
            request_id=request.request_id,
            attempt=reply_stream.state.attempt,
            replica_id=reply_stream.state.replica_id,
        )
        self.publisher.tell_reply_streams(request.reply_to, silence, request.tenant)

    def _part_with(self, reply_stream: ReplyStream, departure: Departure, now: float) -> None:
        """Follows a request without a client for as long as there is reason to."""
        if reply_stream.ended:
            self.registry.remember(reply_stream, now)
            return
        if reply_stream.taken:
            self.registry.drop(reply_stream)
            return
        expired = reply_stream.problem is not None and reply_stream.problem.status == 504
        due = departure.left_at if expired else departure.due
        if now < due:
            return
        if self._read_up_to(reply_stream) < due:
            self.bus_monitor.hurry()
            return
        self._cancel(reply_stream)

    def _cancel(self, reply_stream: ReplyStream) -> None:
        problem = reply_stream.problem
        self.publisher.cancel(reply_stream.request, problem.code if problem else ErrorCode.CLIENT_LEFT)
        self.registry.drop(reply_stream)

    def _read_up_to(self, reply_stream: ReplyStream) -> float:
        return self.registry.reader_of(reply_stream).progress.current_at


def _waits_long(reply_stream: ReplyStream, now: float) -> bool:
    return reply_stream.state.phase is Phase.WAITING and now - reply_stream.heard_at > _PATIENCE_S
