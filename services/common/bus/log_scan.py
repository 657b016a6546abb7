"""Looks up what the log already holds of a request.

Those who ask while a scan runs share the next one: fifty clients that reattach at once
cost two scans.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from services.common.bus.consumer import Tail
from services.common.bus.coordinates import Record
from services.common.errors import BusUnavailableError

_MARGIN_MS = 2000
"""A record's time may lie so far before the time in its request's id, where the clocks
of brokers differ.
"""


@dataclass(frozen=True, slots=True)
class _Wanted:
    key: bytes
    since_ms: int
    found: "asyncio.Future[Sequence[Record]]"


@dataclass
class LogScan:
    """Reads one partition from a time on to its present end; `within_ms` ends it
    earlier, at the first record that much after the time asked for.
    """

    url: str = field(repr=False)
    name: str
    topic: str
    partition: int
    within_ms: int | None = None
    timeout_s: float = 20.0
    make_tail: "Callable[[LogScan], Tail]" = field(
        default=lambda scan: Tail(scan.url, scan.name, topic=scan.topic)
    )
    _wanted: list[_Wanted] = field(default_factory=list, init=False)
    _scanning: asyncio.Task[None] | None = field(default=None, init=False)

    async def records_of(self, key: bytes, since_ms: int) -> Sequence[Record]:
        """A key's records from a time on (Unix milliseconds), in order.

        Raises:
            BusUnavailableError: the log could not be read in time.
        """
        wanted = _Wanted(key, since_ms - _MARGIN_MS, asyncio.get_running_loop().create_future())
        self._wanted.append(wanted)
        if self._scanning is None or self._scanning.done():
            self._scanning = asyncio.create_task(self._serve())
        return await asyncio.shield(wanted.found)

    async def _serve(self) -> None:
        while self._wanted:
            batch, self._wanted = self._wanted, []
            try:
                async with asyncio.timeout(self.timeout_s):
                    found = await self._scan(batch)
            except Exception as error:  # noqa: BLE001  whatever the driver raises, those who wait must hear of it
                _fail(batch, error)
                continue
            for wanted in batch:
                if not wanted.found.done():
                    wanted.found.set_result(found[wanted.key])

    async def _scan(self, batch: Sequence[_Wanted]) -> dict[bytes, list[Record]]:
        found: dict[bytes, list[Record]] = defaultdict(list)
        keys = {wanted.key for wanted in batch}
        since_ms = min(wanted.since_ms for wanted in batch)
        until_ms = max(wanted.since_ms for wanted in batch) + self.within_ms if self.within_ms else None
        begin, end = await self._range(since_ms)
        if begin >= end:
            return found
        tail = self.make_tail(self)
        try:
            await tail.start([self.partition], {self.partition: begin})
            async for records in tail.read_to_end({self.partition: end}):
                for record in records:
                    if record.key in keys:
                        found[record.key].append(record)
                    if until_ms is not None and record.timestamp > until_ms:
                        return found
        finally:
            await tail.close()
        return found

    async def _range(self, since_ms: int) -> tuple[int, int]:
        """Where to begin and to end.

        Asked on a connection that fetches nothing: a broker answers in order, and a
        fetch may wait for a second.
        """
        asking = self.make_tail(self)
        try:
            await asking.start([], {})
            begin = await asking.offsets_at(asking.topic, [self.partition], since_ms)
            end = await asking.end_offsets(self.topic, [self.partition])
        finally:
            await asking.close()
        return begin[self.partition], end[self.partition]


@dataclass
class LogScans:
    """One scan at a time of each partition that is asked for."""

    url: str = field(repr=False)
    name: str
    _scans: dict[tuple[str, int], LogScan] = field(default_factory=dict, init=False)

    def of(self, topic: str, partition: int, *, within_ms: int | None = None) -> LogScan:
        """The scan of a partition."""
        known = self._scans.get((topic, partition))
        if known is None:
            known = self._scans[topic, partition] = LogScan(
                self.url, f"{self.name}-scan", topic, partition, within_ms
            )
        return known


def _fail(batch: Iterable[_Wanted], error: Exception) -> None:
    for wanted in batch:
        if not wanted.found.done():
            failure = BusUnavailableError(f"the log could not be read: {error!r}")
            failure.__cause__ = error
            wanted.found.set_exception(failure)
