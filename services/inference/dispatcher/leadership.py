"""A dispatcher's leadership: from taking a model's lanes over to giving them up.

`domain/dispatch` judges, this carries the traffic: lanes, status and commands in, work
and replies out, and every 50 ms the ends of requests, in one transaction with the
offsets that they finish. Any failure to commit ends the leadership, since only the log
knows then what became visible.
"""

import asyncio
import functools
import os
import socket
import time
from dataclasses import dataclass, field

import structlog

from schemas.inference import Lane
from schemas.topics import REPLIES, STATUS_TOPIC
from services.common.bus import Acknowledged, CommittedOffset, Outgoing, TopicPartition
from services.common.process.pauses import PauseDetector
from services.common.requests.masking.recording import TextRecording
from services.inference.dispatcher.bus_adapter import BusAdapter, now
from services.inference.dispatcher.connections import Connections
from services.inference.dispatcher.deferred_reader import DeferredReader
from services.inference.dispatcher.messages import completed_record
from services.inference.dispatcher.takeover import take_over
from services.inference.domain.dispatch import Dispatch, DispatchRules
from services.inference.domain.dispatch.queue.queue_status import queue_status
from services.inference.domain.offsets import OffsetMapTooLongError

log = structlog.get_logger(__name__)

_TICK_S = 0.1
_STATUS_S = 0.25
_COMMIT_EVERY_S = 0.05
_BUS_SILENCE_S = 0.75
_POLL_S = 1.0
_FULL_POLL_S = 0.05


@dataclass
class Leadership:
    """One dispatcher's time as the active one; `lanes` names each lane's partition."""

    url: str = field(repr=False)
    dispatcher_id: str
    rules: DispatchRules
    connections: Connections
    lanes: dict[TopicPartition, Lane]
    texts: TextRecording
    _ending: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _serving: "_Serving | None" = field(default=None, init=False)

    def end(self) -> None:
        """Ends it: what has ended is committed, then `run` returns."""
        self._ending.set()
        if self._serving is not None:
            self._serving.adapter.committing.set()

    def reseek(self) -> None:
        """After a rebalance that left the lanes here: goes on reading behind what is
        known.
        """
        if self._serving is not None:
            self._serving.reseek()

    async def run(self) -> None:
        """Takes over and serves until `end`.

        Raises:
            ExceptionGroup: of TocsinError: the bus failed, or another dispatcher has
                taken over.
        """
        try:
            await self.connections.open()
            self._serving = await self._take_over()
            await self._serving.run(self._ending)
        finally:
            self._serving = None
            await self.connections.close()
            log.info("leadership_ended", model=self.rules.model, dispatcher=self.dispatcher_id)

    async def _take_over(self) -> "_Serving":
        lanes = {place.topic: lane for place, lane in self.lanes.items()}
        partitions = await self.connections.out.partitions(REPLIES.name)
        adapter = BusAdapter(
            self.connections, self.rules.model, lanes, self.connections.ends.epoch, partitions
        )
        dispatch = await take_over(self.url, self.connections, tuple(self.lanes), self.rules, adapter)
        log.info(
            "leadership_begun",
            model=self.rules.model,
            dispatcher=self.dispatcher_id,
            pending=len(dispatch.requests),
        )
        return _Serving(
            self.dispatcher_id, self.connections, tuple(self.lanes), adapter, dispatch, self.texts
        )


@dataclass
class _Serving:
    """The loops of a leadership whose takeover is done."""

    dispatcher_id: str
    connections: Connections
    places: tuple[TopicPartition, ...]
    adapter: BusAdapter
    dispatch: Dispatch
    texts: TextRecording
    _readable: "list[TopicPartition] | None" = field(default=None, init=False)
    """The lanes that are read at present."""

    async def run(self, ending: asyncio.Event) -> None:
        deferred = DeferredReader(
            self.connections.deferred, self.connections.queries, self.dispatch, self.adapter
        )
        async with asyncio.TaskGroup() as loops:
            readers = [
                loops.create_task(one)
                for one in (
                    self._read_lanes(),
                    self._read_status(),
                    self._read_commands(),
                    self._tick(),
                    deferred.run(),
                )
            ]
            loops.create_task(self._commit(ending))
            await ending.wait()
            for reader in readers:
                reader.cancel()
        await self._commit_ends()

    def reseek(self) -> None:
        self._readable = None
        for place in self.places:
            offset = self.dispatch.trackers[place.topic].next_offset
            self.connections.lanes.seek(place.topic, place.partition, offset)

    async def _read_lanes(self) -> None:
        """Reads each lane as far as there is room: what is not read stays in the log."""
        while True:
            with_room = [place for place in self.places if self.dispatch.has_room(place.topic)]
            if with_room != self._readable:
                self.connections.lanes.read_only(with_room)
                self._readable = with_room
            timeout_s = _POLL_S if len(with_room) == len(self.places) else _FULL_POLL_S
            await self.adapter.on_lanes(
                self.dispatch, await self.connections.lanes.poll(timeout_s, max_records=100)
            )

    async def _read_status(self) -> None:
        while True:
            await self.adapter.on_status(self.dispatch, await self.connections.status.poll(_POLL_S))

    async def _read_commands(self) -> None:
        while True:
            await self.adapter.on_commands(self.dispatch, await self.connections.commands.poll(_POLL_S))

    async def _tick(self) -> None:
        last_status_s, pauses = 0.0, PauseDetector()
        while True:
            pauses.tick(time.monotonic())
            # Our own status comes back with the rest: without it the bus is away, and nobody is to blame.
            # After a pause of this process it says besides that what was written meanwhile has been read.
            read_up = self.adapter.progress.current_at >= pauses.woke_at(time.monotonic())
            if read_up and time.monotonic() - self.adapter.heard_s < _BUS_SILENCE_S:
                await self.adapter.perform(self.dispatch, self.dispatch.on_tick(now()))
            if time.monotonic() - last_status_s >= _STATUS_S:
                last_status_s = time.monotonic()
                status = queue_status(
                    self.dispatch,
                    dispatcher_id=self.dispatcher_id,
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    now_s=last_status_s,
                )
                sent = await self.connections.out.send_soon(
                    Outgoing(STATUS_TOPIC.name, status, subject=self.dispatcher_id, tenant="")
                )
                sent.add_done_callback(functools.partial(self._note_end, last_status_s))
            await asyncio.sleep(_TICK_S)

    def _note_end(self, asked_at: float, sent: "asyncio.Future[Acknowledged]") -> None:
        """Our own status is the log's end at the moment it was sent, or later."""
        if not sent.cancelled() and sent.exception() is None:
            self.adapter.progress.observe_end(sent.result().offset + 1, asked_at=asked_at)

    async def _commit(self, ending: asyncio.Event) -> None:
        """Never cancelled when a leadership ends in order: ends that were taken for a
        transaction must see it through.
        """
        while not ending.is_set():
            await self.adapter.committing.wait()
            self.adapter.committing.clear()
            await self._commit_ends()
            await asyncio.sleep(_COMMIT_EVERY_S)

    async def _commit_ends(self) -> None:
        """Makes visible, at once or not at all: the ends of requests, and that their
        records are done.
        """
        try:
            points = {
                place: CommittedOffset(*self.dispatch.trackers[place.topic].commit_point())
                for place in self.places
            }
        except OffsetMapTooLongError as error:
            log.warning("commit_waits", model=self.dispatch.rules.model, reason=str(error))
            self.adapter.committing.set()
            return
        ends = self.dispatch.completions.take()
        events = await asyncio.gather(*(self.texts.end_with_texts(one.event, one.texts) for one in ends))
        async with self.connections.ends.transaction(self.connections.lanes.group, points):
            for ended, event in zip(ends, events, strict=True):
                await self.connections.ends.send_soon(completed_record(event, ended.traceparent))
