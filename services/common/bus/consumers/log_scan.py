"""Looks up what the log already holds of a request.

Who asks for about the same time shares a scan: fifty clients that reattach at once cost
a few. Tenants take turns, and none has more than one scan of a partition under way, so
that one who asks for old requests again and again makes nobody else wait for long.
"""

import asyncio
import functools
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain

from services.common.bus.consumers.consumer import Tail, window_since
from services.common.bus.coordinates import Record
from services.common.clock import Clock, utc_now
from services.common.errors import BusUnavailableError, TransientError

_MARGIN_MS = 2000
"""A record's time may lie so far before the time in its request's id, where the clocks
of brokers differ.
"""
_TOGETHER_MS = 30_000
"""Look-ups that begin so close to each other share a scan."""
_AT_ONCE = 2


class TooManyLookupsError(TransientError):
    """A tenant has as many look-ups waiting as it may have."""


@dataclass(frozen=True, slots=True, eq=False)
class _Wanted:
    key: bytes
    tenant: str
    since_ms: int
    until_ms: int | None
    found: "asyncio.Future[Sequence[Record]]"


@dataclass
class LogScan:
    """Reads one partition from a time on, to its present end or to a later time.

    A scan takes at most `timeout_s`; who asks waits at most `wait_s`. What a scan keeps
    is bounded: beyond `max_bytes` the latest to ask have to wait for the next one.
    """

    url: str = field(repr=False)
    name: str
    topic: str
    partition: int
    timeout_s: float = 20.0
    wait_s: float = 30.0
    max_waiting: int = 4096
    max_waiting_per_tenant: int = 256
    max_bytes: int = 64 * 1024 * 1024
    clock: Clock = utc_now
    make_tail: "Callable[[LogScan], Tail]" = field(
        default=lambda scan: Tail(scan.url, scan.name, topic=scan.topic)
    )
    _waiting: dict[str, deque[_Wanted]] = field(default_factory=dict, init=False)
    """By tenant; whose turn is next comes first."""
    _asking: dict[str, int] = field(default_factory=lambda: defaultdict(int), init=False)
    _scanning: "dict[asyncio.Task[None], str]" = field(default_factory=dict, init=False)

    async def records_of(
        self, key: bytes, since_ms: int, *, tenant: str, within_ms: int | None = None
    ) -> Sequence[Record]:
        """A key's records from a time on (Unix milliseconds), in order, or only those
        that are at most `within_ms` later.

        Raises:
            TooManyLookupsError: this tenant has too many look-ups waiting.
            BusUnavailableError: the log could not be read in time, or too many wait.
        """
        self._require_room(tenant)
        wanted = _Wanted(
            key,
            tenant,
            since_ms - _MARGIN_MS,
            None if within_ms is None else since_ms + within_ms,
            asyncio.get_running_loop().create_future(),
        )
        self._asking[tenant] += 1
        self._waiting.setdefault(tenant, deque()).append(wanted)
        try:
            self._begin()
            async with asyncio.timeout(self.wait_s):
                return await wanted.found
        except TimeoutError as error:
            raise BusUnavailableError(f"{self.topic} could not be read within {self.wait_s:g} s") from error
        finally:
            self._forget(wanted)

    def _require_room(self, tenant: str) -> None:
        if self._asking.get(tenant, 0) >= self.max_waiting_per_tenant:
            raise TooManyLookupsError(f"{self.max_waiting_per_tenant} look-ups of one tenant are under way")
        if sum(self._asking.values()) >= self.max_waiting:
            raise BusUnavailableError(f"{self.max_waiting} look-ups in {self.topic} are under way")

    def _forget(self, wanted: _Wanted) -> None:
        self._asking[wanted.tenant] -= 1
        if not self._asking[wanted.tenant]:
            del self._asking[wanted.tenant]
        self._take([wanted])

    def _begin(self) -> None:
        """Starts scans, while there is room and a tenant that has none."""
        while len(self._scanning) < _AT_ONCE:
            busy = set(self._scanning.values())
            tenant = next((one for one in self._waiting if one not in busy), None)
            if tenant is None:
                return
            first = self._waiting[tenant][0]
            waiting = [first, *(one for one in chain(*self._waiting.values()) if one is not first)]
            batch = [one for one in waiting if self._share_a_scan(first, one)]
            self._take(batch)
            if tenant in self._waiting:  # its next turn comes after the others'
                self._waiting[tenant] = self._waiting.pop(tenant)
            task = asyncio.create_task(self._serve(batch))
            self._scanning[task] = tenant
            task.add_done_callback(functools.partial(self._end, batch))

    def _take(self, batch: Sequence[_Wanted]) -> None:
        taken = set(batch)
        for tenant in {one.tenant for one in batch}:
            if tenant in self._waiting:
                rest = deque(one for one in self._waiting[tenant] if one not in taken)
                self._waiting[tenant] = rest
                if not rest:
                    del self._waiting[tenant]

    def _share_a_scan(self, first: _Wanted, other: _Wanted) -> bool:
        """Whether a scan for both costs either at most about twice one of its own."""
        if (first.until_ms is None) is not (other.until_ms is None):
            return False
        if abs(first.since_ms - other.since_ms) <= _TOGETHER_MS:
            return True
        now_ms = self.clock().timestamp() * 1000
        ages = sorted((now_ms - first.since_ms, now_ms - other.since_ms))
        return first.until_ms is None and ages[0] > 0 and ages[1] <= 2 * ages[0]

    def _end(self, batch: Sequence[_Wanted], task: "asyncio.Task[None]") -> None:
        """Lets nobody wait for a scan that is over, however it ended."""
        del self._scanning[task]
        waiting = set(chain(*self._waiting.values()))
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        for wanted in batch:
            if not wanted.found.done() and wanted not in waiting:
                failure = BusUnavailableError(f"the log could not be read: {error!r}")
                failure.__cause__ = error
                wanted.found.set_exception(failure)
        self._begin()

    async def close(self) -> None:
        """Gives up what is under way: all who wait get an error."""
        scanning = list(self._scanning)
        self._waiting.clear()
        for task in scanning:
            task.cancel()
        await asyncio.gather(*scanning, return_exceptions=True)

    async def _serve(self, batch: Sequence[_Wanted]) -> None:
        async with asyncio.timeout(self.timeout_s):
            found, left = await self._scan(batch)
        for wanted in batch:
            if wanted.found.done():
                continue
            if wanted in left:
                self._waiting.setdefault(wanted.tenant, deque()).appendleft(wanted)
            else:
                until_ms = wanted.until_ms
                wanted.found.set_result(
                    [one for one in found[wanted.key] if until_ms is None or one.timestamp <= until_ms]
                )

    async def _scan(self, batch: Sequence[_Wanted]) -> tuple[dict[bytes, list[Record]], set[_Wanted]]:
        """Each key's records, and those for whom there was no room."""
        kept = _Kept(batch, self.max_bytes)
        until = [one.until_ms for one in batch if one.until_ms is not None]
        begin, end = await window_since(
            self.make_tail(self), self.partition, min(wanted.since_ms for wanted in batch)
        )
        if begin >= end:
            return kept.found, kept.left
        tail = self.make_tail(self)
        try:
            await tail.start([self.partition], {self.partition: begin})
            async for records in tail.read_to_end({self.partition: end}):
                for record in records:
                    kept.take(record)
                if until and records[-1].timestamp > max(until):
                    break
        finally:
            await tail.close()
        return kept.found, kept.left


class _Kept:
    """The records that a scan keeps, up to so many bytes. The first that asked has what
    it asked for, however much that is.
    """

    def __init__(self, batch: Sequence[_Wanted], max_bytes: int) -> None:
        self.found: dict[bytes, list[Record]] = {one.key: [] for one in batch}
        self.left: set[_Wanted] = set()
        self._batch = list(batch)
        self._room = max_bytes

    def take(self, record: Record) -> None:
        """Keeps a record if somebody wants it."""
        records = self.found.get(record.key)
        if records is None:
            return
        records.append(record)
        self._room -= len(record.value or b"")
        while self._room < 0 and len(self.found) > 1:
            self._leave_last()

    def _leave_last(self) -> None:
        key = self._batch[-1].key
        if key == self._batch[0].key:
            key = next(one.key for one in reversed(self._batch) if one.key != key)
        self.left.update(one for one in self._batch if one.key == key)
        self._batch = [one for one in self._batch if one.key != key]
        self._room += sum(len(record.value or b"") for record in self.found.pop(key))


@dataclass
class LogScans:
    """The scans of each partition that is asked for."""

    url: str = field(repr=False)
    name: str
    wait_s: float = 30.0
    """The longest that anybody waits."""
    _scans: dict[tuple[str, int], LogScan] = field(default_factory=dict, init=False)

    def of(self, topic: str, partition: int) -> LogScan:
        """The scans of a partition."""
        known = self._scans.get((topic, partition))
        if known is None:
            known = self._scans[topic, partition] = LogScan(
                self.url, f"{self.name}-scan", topic, partition, wait_s=self.wait_s
            )
        return known

    async def close(self) -> None:
        """Gives up what is under way."""
        await asyncio.gather(*(scan.close() for scan in self._scans.values()))
