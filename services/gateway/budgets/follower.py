"""Follows the ends of requests, so that this gateway knows what was spent at all of them.

What was spent before is the store's: its sums up to an offset of each partition, and
the log from there on. Whoever reads both counts each request once, whenever they begin.
Ends are read anew from there for a budget that is new; budgets that are known pass over
what they have. Without a budget nothing is followed.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import orjson
import structlog

from schemas.topics import COMPLETED
from services.common.budgets.spend import SpendKey, SpendStore, Spent
from services.common.bus import Record, Start, Tail
from services.common.clock import Clock
from services.common.errors import TocsinError
from services.common.process import metrics
from services.gateway.budgets.book import BudgetBook, spenders
from services.gateway.budgets.spending import Spending

log = structlog.get_logger(__name__)

_POLL_S = 0.25
_PACE_S = 0.025
"""Between two reads, so that a long log leaves the streams their turns."""
_RETRY_S = 1.0
_MOST_AT_ONCE = 1000
"""Records: streams wait while they are counted, some 7 ms."""
_TENANT_HEADER = "ce_tenant"
_DEAREST = 1_000_000
"""The recorder sets aside what costs as much."""
_NOTHING = Decimal(0)


class End(NamedTuple):
    """A request's end, what it cost, and where it lies."""

    request_id: str
    usd: Decimal
    partition: int
    offset: int


class _Asked(NamedTuple):
    """What the store says that these have spent, by the records up to `through`."""

    spend_keys: frozenset[SpendKey]
    at: datetime
    through: dict[int, int]
    spent: dict[SpendKey, list[Spent]]


@dataclass
class SpendFollower:
    """Keeps `spending` true for the book's spend_keys. `on_end` hears of each request that
    ended, after it is counted, whoever's it is, and what it cost where its tenant has
    budgets: what was reserved for it ends with it, though its budget be gone meanwhile.
    `on_round` is called a few times a second, brings the book up to date and says whether
    ends must be known at all.
    """

    tail: Tail
    store: SpendStore
    book: BudgetBook
    spending: Spending
    clock: Clock
    on_round: Callable[[], bool] = field(default=lambda: True)
    on_end: Callable[[End], None] = field(default=lambda _end: None)
    counted: dict[int, int] | None = field(default=None, init=False)
    """By partition, up to which offset (exclusive) ends are counted; None while none are."""
    _ready: set[SpendKey] = field(default_factory=set, init=False)
    _awaited: dict[int, int] = field(default_factory=dict, init=False)
    _waiting: set[SpendKey] = field(default_factory=set, init=False)
    _opened: frozenset[SpendKey] = field(default=frozenset(), init=False)
    """What was followed last: the book's own, until that changes."""
    _asking: "asyncio.Task[_Asked] | None" = field(default=None, init=False)
    _partitions: tuple[int, ...] = field(default=(), init=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def is_ready(self, spend_keys: Iterable[SpendKey]) -> bool:
        """Whether what these have spent is known."""
        return self._ready.issuperset(spend_keys)

    async def wait_until_ready(self, spend_keys: Iterable[SpendKey], timeout_s: float) -> bool:
        """Waits until what these have spent is known; False where that takes longer than
        `timeout_s`.
        """
        wanted = list(spend_keys)
        try:
            async with asyncio.timeout(timeout_s):
                while not self.is_ready(wanted):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Follows until cancelled."""
        while True:
            try:
                await asyncio.sleep(await self.round())
            except TocsinError as error:
                log.warning("budgets_wait", error=str(error))
                metrics.BUDGETS_UNREAD.set(len(self.book.spend_keys - self._ready))
                await self._follow_meanwhile()

    async def round(self) -> float:
        """Learns what is new, and reads what came, once; in how many seconds again.

        Raises:
            StoreUnavailableError: what was spent of new budgets cannot be had now.
            BusUnavailableError: the ends cannot be read now.
        """
        if not self.on_round():
            await self._stop()
            return _POLL_S
        await self._start()
        if self._opened is not self.book.spend_keys:
            await self._open_new(self.book.spend_keys)
        records = await self.tail.poll(_POLL_S, _MOST_AT_ONCE)
        self.take(records)
        await self._note_ready()
        metrics.BUDGETS_UNREAD.set(len(self.book.spend_keys) - len(self._ready))
        return _PACE_S if records else 0.0

    async def close(self) -> None:
        """Disconnects."""
        self._ask_no_more()
        await self.tail.close()
        await self.store.store.close()

    def take(self, records: Iterable[Record]) -> None:
        """Counts the ends in these records; unreadable ones are counted as passed over."""
        for record in records:
            usd = self._count(record) if _tenant(record) in self.book.tenants else _NOTHING
            self._note_counted(record.partition, record.offset + 1)
            request_id = (record.key or b"").decode(errors="replace")
            self.on_end(End(request_id, usd, record.partition, record.offset))

    def _count(self, record: Record) -> Decimal:
        try:
            event: dict[str, Any] = orjson.loads(record.value or b"")
            usd = Decimal(event.get("cost_usd") or 0)
            spent_by = spenders(
                event["tenant"], key_id=event["key_id"], user=event.get("user", ""), model=event["model"]
            )
            at = datetime.fromisoformat(event["completed_at"])
            if not 0 <= usd < _DEAREST or at.tzinfo is None:
                raise ValueError("no cost or no time")  # noqa: TRY301  told like any other
            if usd:
                self.spending.add(spent_by, usd, at=at, partition=record.partition, offset=record.offset)
        except (ValueError, KeyError, TypeError, AttributeError, InvalidOperation, OverflowError):
            metrics.BUS_SKIPPED.labels(COMPLETED.name, "unreadable").inc()
            log.warning("end_unreadable", partition=record.partition, offset=record.offset)
            return _NOTHING
        return usd

    async def _start(self) -> None:
        if self._partitions:
            return
        await self.tail.start(None, Start.END)
        self._partitions = tuple(range(await self.tail.partitions(COMPLETED.name)))
        for partition in self._partitions:
            self._note_counted(partition, await self.tail.position(COMPLETED.name, partition))

    def _note_counted(self, partition: int, offset: int) -> None:
        """What was read before, and is read again for a new budget, stays counted."""
        counted = self.counted = self.counted or {}
        counted[partition] = max(counted.get(partition, 0), offset)

    async def _stop(self) -> None:
        """Reads no more until a budget is made again, which then is begun anew."""
        if not self._partitions:
            return
        self._partitions = ()
        self.counted = None
        self._opened = frozenset()
        self._ready.clear()
        self._waiting.clear()
        self._ask_no_more()
        self.spending.close(self.spending.spend_keys)
        await self.tail.close()

    async def _open_new(self, spend_keys: frozenset[SpendKey]) -> None:
        """Follows these and no others: learns what new ones have spent, and goes back in
        the log to where the store has it.
        """
        gone = self.spending.spend_keys - spend_keys
        self.spending.close(gone)
        self._ready -= gone
        self._waiting -= gone
        new = spend_keys - self.spending.spend_keys
        if not new or await self._open(new):
            self._opened = spend_keys

    async def _open(self, new: frozenset[SpendKey]) -> bool:
        """Asks the store, beside the reading: one that does not answer holds up nothing
        else. Whether all of these are followed now.
        """
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(new))
            self._asking.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait([self._asking], timeout=_PACE_S)
        if not self._asking.done():
            return False
        asking, self._asking = self._asking, None
        asked = asking.result()
        wanted = new & asked.spend_keys
        ends = await self.tail.end_offsets(COMPLETED.name, self._partitions)
        for partition in self._partitions:
            place = await self.tail.position(COMPLETED.name, partition)
            known = asked.through.get(partition, -1) + 1
            self.tail.seek(COMPLETED.name, partition, min(known, place))
        for spend_key in wanted:
            self.spending.open(spend_key, asked.spent[spend_key], asked.through, asked.at)
        self._waiting |= wanted
        self._awaited = ends
        log.info("budgets_read", spend_keys=len(wanted))
        return wanted == new

    async def _ask(self, spend_keys: frozenset[SpendKey]) -> _Asked:
        now = self.clock()
        through = await self.store.highest_offsets()
        return _Asked(spend_keys, now, through, await self.store.spent(spend_keys, now, through))

    def _ask_no_more(self) -> None:
        """Nobody reads the answer any more."""
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None

    async def _note_ready(self) -> None:
        """What is read up to where the log ended when it was begun is known."""
        if not self._waiting:
            return
        for partition, end in self._awaited.items():
            if await self.tail.position(COMPLETED.name, partition) < end:
                return
        self._ready |= self._waiting
        self._waiting.clear()
        self._changed.set()

    async def _follow_meanwhile(self) -> None:
        """The store, or the bus, is away: what is known is kept true for a while, before
        the rest is asked for again.
        """
        again_s = time.monotonic() + _RETRY_S
        try:
            while self._partitions and time.monotonic() < again_s:
                self.take(await self.tail.poll(_POLL_S, _MOST_AT_ONCE))
                await self._note_ready()
                await asyncio.sleep(_PACE_S)
        except TocsinError as error:
            log.warning("budgets_wait", error=str(error))
        await asyncio.sleep(max(0.0, again_s - time.monotonic()))


def _tenant(record: Record) -> str:
    for name, value in record.headers:
        if name == _TENANT_HEADER:
            return bytes(value).decode(errors="replace")
    return ""
