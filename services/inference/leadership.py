"""A dispatcher's term: from taking a model's lanes over to giving them up.

`domain/dispatching.py` judges, this carries the traffic: lanes, status and commands in,
work and replies out, and every 50 ms the ends of requests, in one transaction with the
offsets that they finish. Any failure to commit ends the term, since only the log knows
then what became visible.
"""

import asyncio
import os
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import structlog
from pydantic import ValidationError

from schemas.envelope import traceparent_of
from schemas.inference import (
    STATUS,
    CancelRequested,
    InferenceCompleted,
    InferenceRequested,
    ReplicaBeat,
    RequestFinished,
    WorkAssigned,
    WorkCancelled,
)
from schemas.topics import COMMANDS, COMPLETED, REPLIES, STATUS_TOPIC, WORK_TOPIC
from services.common.bus import (
    CommittedOffset,
    GroupConsumer,
    Outgoing,
    Producer,
    Record,
    Tail,
    TopicPartition,
    TransactionalProducer,
    position_of,
)
from services.common.bus.admin import committed_offsets
from services.common.clock import utc_now
from services.inference.domain.dispatching import Action, Assign, Dispatch, DispatchRules, Moment, Withdraw
from services.inference.domain.offsets import MAX_UNFINISHED, OffsetMapTooLongError, OffsetTracker

log = structlog.get_logger(__name__)

_TICK_S = 0.1
_STATUS_S = 0.25
_COMMIT_EVERY_S = 0.05
_REPLAY_MARGIN_MS = 2_000
_BUS_SILENCE_S = 0.75


@dataclass
class Leadership:
    """One dispatcher's time as the active one."""

    url: str
    dispatcher_id: str
    rules: DispatchRules
    out: Producer
    lanes: GroupConsumer
    places: Sequence[TopicPartition]
    _ending: asyncio.Event = field(default_factory=asyncio.Event)
    _committing: asyncio.Event = field(default_factory=asyncio.Event)
    _traces: dict[str, str] = field(default_factory=dict)
    _dispatch: Dispatch = field(init=False)
    _heard_s: float = 0.0

    def __post_init__(self) -> None:
        model = self.rules.model
        self._ends = TransactionalProducer(
            url=self.url, name=f"dispatcher/{model}", transactional_id=self.lanes.group
        )
        self._status = Tail(url=self.url, name=self.dispatcher_id, topic=STATUS_TOPIC.name)
        self._commands = Tail(url=self.url, name=self.dispatcher_id, topic=COMMANDS.name)
        self._offsets = Tail(
            url=self.url, name=self.dispatcher_id
        )  # fetches nothing: a query need not wait behind a fetch's long poll

    def end(self) -> None:
        """Ends the term: what has ended is committed, then `run` returns."""
        self._ending.set()
        self._committing.set()

    def reseek(self) -> None:
        """After a rebalance that left the lanes here: goes on reading behind what is
        known.
        """
        for place in self.places:
            if hasattr(self, "_dispatch"):
                self.lanes.seek(
                    place.topic, place.partition, self._dispatch.trackers[place.topic].next_offset
                )

    async def run(self) -> None:
        """Takes over and serves until `end`.

        Raises:
            ExceptionGroup: of TocsinError: the bus failed, or another dispatcher has
                taken over.
        """
        try:
            await self._take_over()
            log.info(
                "term_begun",
                model=self.rules.model,
                dispatcher=self.dispatcher_id,
                pending=self._dispatch.unfinished,
            )
            async with asyncio.TaskGroup() as loops:
                readers = [
                    loops.create_task(one)
                    for one in (self._read_lanes(), self._read_status(), self._read_commands(), self._tick())
                ]
                loops.create_task(self._commit())
                await self._ending.wait()
                for reader in readers:
                    reader.cancel()
            await self._commit_ends()
        finally:
            await self._close()
            log.info("term_ended", model=self.rules.model, dispatcher=self.dispatcher_id)

    # Taking over.

    async def _take_over(self) -> None:
        """Fences the predecessor, then reads what is pending and what was running.

        The order matters: nothing pending is read before the fence stands.
        """
        async with (
            asyncio.TaskGroup() as connecting
        ):  # where one fails or this is cancelled, none is left half open
            connecting.create_task(self._ends.start())
            connecting.create_task(self._offsets.start([], {}))
            connecting.create_task(self._status.start([0], {0: 0}))
            connecting.create_task(self._commands.start([0], {0: 0}))
        self._epoch = self._ends.epoch
        inboxes = range(await self.out.partitions(WORK_TOPIC.name))
        trackers = await self._restore_trackers()
        barrier = await self._offsets.end_offsets(WORK_TOPIC.name, inboxes)
        self._dispatch = Dispatch(self.rules, trackers, barrier, time.monotonic())
        oldest_ms = await self._read_pending()
        await self._replay(oldest_ms - _REPLAY_MARGIN_MS)

    async def _restore_trackers(self) -> dict[str, OffsetTracker]:
        committed = await committed_offsets(self.url, self.lanes.group)
        trackers = {}
        for place in self.places:
            start = (await self._offsets.beginning_offsets(place.topic, [place.partition]))[place.partition]
            known = committed.get(place)
            tracker = OffsetTracker.restore(known.offset, known.note) if known else OffsetTracker(start)
            gone = tracker.forget_before(start)
            if gone:
                log.error("requests_lost_to_retention", topic=place.topic, count=gone)
            self.lanes.seek(place.topic, place.partition, max(start, known.offset if known else start))
            trackers[place.topic] = tracker
        return trackers

    async def _read_pending(self) -> int:
        """Reads the lanes to their present end or as far as the window allows; returns
        when the oldest pending request came, in Unix milliseconds.
        """
        oldest_ms = int(time.time() * 1000)
        ends = {
            place: (await self._offsets.end_offsets(place.topic, [place.partition]))[place.partition]
            for place in self.places
        }
        while self._dispatch.unfinished < MAX_UNFINISHED:
            if all([await self.lanes.position(*place) >= end for place, end in ends.items()]):
                break
            records = await self.lanes.poll(timeout_s=1.0, max_records=200)
            oldest_ms = min([oldest_ms, *(record.timestamp for record in records)])
            await self._on_lane_records(records)
        return oldest_ms

    async def _replay(self, since_ms: int) -> None:
        """Reads status and commands from `since_ms` on: what replicas finished and were
        running while nobody looked.
        """
        for tail in (self._status, self._commands):
            for partition, offset in (await self._offsets.offsets_at(tail.topic, [0], since_ms)).items():
                tail.seek(tail.topic, partition, offset)
        end = (await self._offsets.end_offsets(STATUS_TOPIC.name, [0]))[0]
        async for records in self._status.read_to_end({0: end}):
            await self._on_status_records(records, live_from=end)

    # Serving.

    async def _read_lanes(self) -> None:
        while True:
            if self._dispatch.unfinished >= MAX_UNFINISHED:
                await asyncio.sleep(_COMMIT_EVERY_S)  # what is not read stays in the log: lag is the queue
                continue
            await self._on_lane_records(await self.lanes.poll(timeout_s=1.0, max_records=100))

    async def _read_status(self) -> None:
        while True:
            await self._on_status_records(await self._status.poll(timeout_s=1.0))

    async def _read_commands(self) -> None:
        while True:
            for record in await self._commands.poll(timeout_s=1.0):
                cancel = _parse_cancel(record)
                if cancel is not None and cancel.model == self.rules.model:
                    await self._perform(self._dispatch.on_cancel(cancel, _now()))

    async def _tick(self) -> None:
        last_status_s = 0.0
        while True:
            if (
                time.monotonic() - self._heard_s < _BUS_SILENCE_S
            ):  # our own status comes back with the rest: without it the bus is away, and nobody is to blame
                await self._perform(self._dispatch.on_tick(_now()))
            if time.monotonic() - last_status_s >= _STATUS_S:
                last_status_s = time.monotonic()
                status = self._dispatch.status(self.dispatcher_id, socket.gethostname(), os.getpid(), _now())
                await self.out.send_soon(
                    Outgoing(STATUS_TOPIC.name, status, subject=self.dispatcher_id, tenant="")
                )
            await asyncio.sleep(_TICK_S)

    async def _commit(self) -> None:
        """Never cancelled when a term ends in order: ends that were taken for a
        transaction must see it through.
        """
        while not self._ending.is_set():
            await self._committing.wait()
            self._committing.clear()
            await self._commit_ends()
            await asyncio.sleep(_COMMIT_EVERY_S)

    async def _on_lane_records(self, records: Iterable[Record]) -> None:
        for record in records:
            position = position_of(record)
            try:
                request = InferenceRequested.model_validate_json(record.value)
            except ValidationError as error:
                log.error(  # noqa: TRY400  a traceback would quote the prompt
                    "request_unreadable", topic=record.topic, offset=record.offset, errors=error.error_count()
                )
                self._dispatch.skip(position)
                continue
            trace = traceparent_of(record.headers)
            if trace:
                self._traces[request.request_id] = trace
            await self._perform(self._dispatch.on_request(request, position, _now()))

    async def _on_status_records(self, records: Iterable[Record], live_from: int = 0) -> None:
        for record in records:
            self._heard_s = time.monotonic()
            if record.key is None or not record.key.startswith(self._key_prefix):
                continue
            status = STATUS.validate_json(record.value)
            if isinstance(status, ReplicaBeat):
                await self._perform(self._dispatch.on_beat(status, _now(), live=record.offset >= live_from))
            elif isinstance(status, RequestFinished):
                await self._perform(self._dispatch.on_finished(status, _now()))

    @property
    def _key_prefix(self) -> bytes:
        return f"{self.rules.model}#".encode()

    async def _perform(self, actions: Iterable[Action]) -> None:
        for action in actions:
            await self.out.send_soon(self._outgoing(action))
        if self._dispatch.ends or self._dispatch.finished_unrecorded:
            self._committing.set()

    def _outgoing(self, action: Action) -> Outgoing:
        if isinstance(action, Assign):
            work = WorkAssigned(
                replica_id=action.replica_id,
                epoch=self._epoch,
                origin=action.origin,
                request=action.request,
                waiting=action.waiting,
            )
            request = action.request
            return Outgoing(
                WORK_TOPIC.name,
                work,
                subject=request.request_id,
                tenant=request.tenant,
                key=action.replica_id,
                partition=action.inbox,
                traceparent=self._traces.get(request.request_id),
            )
        if isinstance(action, Withdraw):
            back = WorkCancelled(
                replica_id=action.replica_id,
                epoch=self._epoch,
                request_id=action.request_id,
                attempt=action.attempt,
                reason=action.reason,
            )
            return Outgoing(
                WORK_TOPIC.name,
                back,
                subject=action.request_id,
                tenant="",
                key=action.replica_id,
                partition=action.inbox,
            )
        reply = action.reply
        return Outgoing(
            REPLIES.name, reply, subject=reply.request_id, tenant=reply.tenant, partition=action.to.partition
        )

    async def _commit_ends(self) -> None:
        """Makes visible, at once or not at all: the ends of requests, and that their
        records are done.
        """
        try:
            points = {
                place: CommittedOffset(*self._dispatch.trackers[place.topic].commit_point())
                for place in self.places
            }
        except OffsetMapTooLongError as error:
            log.warning("commit_waits", model=self.rules.model, reason=str(error))
            self._committing.set()
            return
        ends = self._dispatch.take_ends()
        async with self._ends.transaction(self.lanes.group, points):
            for end in ends:
                await self._ends.send_soon(self._completed(end))

    def _completed(self, end: InferenceCompleted) -> Outgoing:
        return Outgoing(
            COMPLETED.name,
            end,
            subject=end.request_id,
            tenant=end.tenant,
            traceparent=self._traces.pop(end.request_id, None),
        )

    async def _close(self) -> None:
        for part in (self._status, self._commands, self._offsets):
            await part.close()
        await self._ends.close()


def _now() -> Moment:
    return Moment(utc_now(), time.monotonic())


def _parse_cancel(record: Record) -> CancelRequested | None:
    try:
        return CancelRequested.model_validate_json(record.value)
    except ValidationError as error:
        log.error(  # noqa: TRY400  one line says it
            "command_unreadable", offset=record.offset, errors=error.error_count()
        )
        return None
