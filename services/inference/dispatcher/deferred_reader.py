"""Reads deferred requests again, which were left in the log."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from services.common.bus import LogPosition, Record, Tail, TopicPartition, position_of
from services.common.errors import BusUnavailableError
from services.common.process import metrics
from services.inference.dispatcher.bus_adapter import BusAdapter, now
from services.inference.dispatcher.messages import read_request
from services.inference.domain.dispatch import Dispatch

log = structlog.get_logger(__name__)

_IDLE_S = 0.02
_POLL_S = 0.5
_GAP = 500
"""Beyond so many records that are not wanted it is quicker to seek."""


@dataclass
class DeferredReader:
    """Gives a dispatch the records that it wants to have again, or says that they are gone.

    `queries` is asked where the log begins when it gives nothing.
    """

    tails: dict[TopicPartition, Tail]
    queries: Tail
    dispatch: Dispatch
    adapter: BusAdapter
    _started: set[TopicPartition] = field(default_factory=set, init=False)

    async def run(self) -> None:
        """Reads whenever something is wanted, until cancelled."""
        while True:
            for place in self.tails:
                wanted = self.dispatch.waiting.backlogs[place.topic].wanted()
                if wanted:
                    await self._read(place, wanted)
            await asyncio.sleep(_IDLE_S)

    async def _read(self, place: TopicPartition, wanted: Sequence[int]) -> None:
        """Reads these offsets, in order; what the bus does not give now is wanted again
        next time.
        """
        missing = deque(wanted)
        tail = self.tails[place]
        await self._seek(place, missing[0])
        while missing:
            records = await tail.poll(_POLL_S, max_records=200)
            if not records:
                await self._miss_lost(place, missing)
                return
            for record in records:
                await self._take(record, missing)
            if missing and missing[0] - records[-1].offset > _GAP:
                await self._seek(place, missing[0])

    async def _take(self, record: Record, missing: deque[int]) -> None:
        while missing and missing[0] < record.offset:
            await self._miss(
                LogPosition(topic=record.topic, partition=record.partition, offset=missing.popleft())
            )
        if missing and missing[0] == record.offset:
            missing.popleft()
            request = read_request(record)
            if request is None:
                await self._miss(position_of(record))
            else:
                actions = self.dispatch.on_deferred(request, position_of(record), now())
                await self.adapter.perform(self.dispatch, actions)

    async def _miss_lost(self, place: TopicPartition, missing: Iterable[int]) -> None:
        """Nothing came: the bus is away, or the log begins behind what is wanted, perhaps
        with nothing in it.
        """
        try:
            starts = await self.queries.beginning_offsets(place.topic, [place.partition])
        except BusUnavailableError:
            return
        for offset in [one for one in missing if one < starts[place.partition]]:
            await self._miss(LogPosition(topic=place.topic, partition=place.partition, offset=offset))

    async def _miss(self, position: LogPosition) -> None:
        """Retention took a record before its turn came."""
        log.error("request_lost_to_retention", topic=position.topic, offset=position.offset)
        metrics.BUS_SKIPPED.labels(position.topic, "lost_to_retention").inc()
        await self.adapter.perform(self.dispatch, self.dispatch.on_gone(position, now()))

    async def _seek(self, place: TopicPartition, offset: int) -> None:
        tail = self.tails[place]
        if place not in self._started:
            await tail.start([place.partition], {place.partition: offset})
            self._started.add(place)
        tail.seek(place.topic, place.partition, offset)
