"""Scans of the log: shared, bounded in time, and never taken for an empty answer."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from services.common.bus import Record
from services.common.bus.consumers.log_scan import LogScan, LogScans, TooManyLookupsError
from services.common.errors import BusUnavailableError
from tests.support.bus.records import record


@dataclass
class FakeLog:
    """A partition whose records a scan reads two at a time."""

    records: list[Record] = field(default_factory=list)
    failure: Exception | None = None
    stuck: asyncio.Event | None = None
    held: asyncio.Event | None = None
    hold_before_ms: int = 0
    """A scan that begins before this time waits for `held`."""
    scans: int = 0
    read: list[int] = field(default_factory=list)
    """The offsets of all that was read."""

    def tail(self) -> "FakeTail":
        """A reader of this log."""
        return FakeTail(self)


@dataclass
class FakeTail:
    """Reads a fake log."""

    log: FakeLog
    topic: str = "t"
    at: int = 0

    async def start(self, _partitions: Sequence[int], start: Mapping[int, int]) -> None:
        if self.log.failure is not None:
            raise self.log.failure
        if self.log.stuck is not None:
            await self.log.stuck.wait()
        self.at = start.get(0, 0)
        self.log.scans += bool(start)
        if start and self.log.held and self.log.records[self.at].timestamp < self.log.hold_before_ms:
            await self.log.held.wait()

    async def close(self) -> None:
        """Nothing to let go of."""

    async def offsets_at(self, _topic: str, _partitions: Sequence[int], time_ms: int) -> dict[int, int]:
        later = [one.offset for one in self.log.records if one.timestamp >= time_ms]
        return {0: min(later, default=len(self.log.records))}

    async def end_offsets(self, _topic: str, _partitions: Sequence[int]) -> dict[int, int]:
        return {0: len(self.log.records)}

    async def read_to_end(self, ends: Mapping[int, int]) -> AsyncIterator[list[Record]]:
        while self.at < ends[0]:
            yield await self.poll()

    async def poll(self) -> list[Record]:
        batch = self.log.records[self.at : self.at + 2]
        self.at += len(batch)
        self.log.read += [one.offset for one in batch]
        return batch


def scan_of(log: FakeLog, *, now_ms: int = 0, **more: Any) -> LogScan:
    """A scan of a fake log."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    return LogScan("nowhere:1", "n", "t", 0, clock=lambda: now, make_tail=lambda _scan: log.tail(), **more)  # type: ignore[arg-type,return-value]


def log_of(*keys: bytes, every_ms: int = 1000) -> FakeLog:
    """A log with a record of each key, one a second."""
    return FakeLog(
        [record(b"v", key=key, offset=at, timestamp_ms=at * every_ms) for at, key in enumerate(keys)]
    )


async def offsets(
    scan: LogScan, key: bytes, since_ms: int = 0, tenant: str = "acme", within_ms: int | None = None
) -> list[int]:
    """Where a key's records lie."""
    found = await scan.records_of(key, since_ms, tenant=tenant, within_ms=within_ms)
    return [one.offset for one in found]


async def settled() -> None:
    """Lets everything go on that can."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_scan_finds_a_keys_records_in_order() -> None:
    """Those of others are passed over."""
    assert await offsets(scan_of(log_of(b"a", b"b", b"a", b"c", b"a")), b"a") == [0, 2, 4]
    assert await offsets(scan_of(log_of()), b"a") == []


async def test_scan_begins_a_margin_before_its_time_and_ends_within_its_bound() -> None:
    """Clocks of brokers may differ; what lies long before or after is not read."""
    log = log_of(*[b"a"] * 40)
    assert await offsets(scan_of(log), b"a", 8_000, within_ms=5_000) == [6, 7, 8, 9, 10, 11, 12, 13]
    assert max(log.read) < 20


async def test_each_who_asks_has_its_own_bound() -> None:
    """Whoever asked first, and whether or not they share a scan."""
    scan = scan_of(log_of(*[b"a"] * 60))
    found = await asyncio.gather(
        offsets(scan, b"a", 2_000, within_ms=2_000),
        offsets(scan, b"a", 2_000, within_ms=50_000),
        offsets(scan, b"a", 40_000, within_ms=2_000),
        offsets(scan, b"a", 50_000),
    )
    assert [(one[0], one[-1]) for one in found] == [(0, 4), (0, 52), (38, 42), (48, 59)]


async def test_those_who_ask_together_share_a_scan() -> None:
    """Fifty that come while two run cost one more, whichever tenants they are of."""
    log = log_of(b"a", b"b", b"a")
    scan = scan_of(log)
    found = await asyncio.gather(
        *(offsets(scan, b"b" if number % 2 else b"a", tenant=f"t{number % 5}") for number in range(50))
    )
    assert [len(one) for one in found] == [2, 1] * 25
    assert log.scans <= 3


@pytest.mark.parametrize("within_ms", [None, 30_000])
async def test_streams_of_a_dead_gateway_share_few_scans(within_ms: int | None) -> None:
    """Five hundred of every age: all of the log is read twice at most, or little more."""
    log = log_of(*(f"k{number % 300}".encode() for number in range(300)))
    scan = scan_of(log, now_ms=300_000, max_waiting_per_tenant=500)
    found = await asyncio.gather(
        *(
            offsets(scan, f"k{number % 300}".encode(), number % 300 * 1000, within_ms=within_ms)
            for number in range(500)
        )
    )
    assert [one[-1] for one in found] == [number % 300 for number in range(500)]
    assert len(log.read) <= 3 * 300


async def test_tenant_that_asks_for_old_requests_holds_up_nobody_else() -> None:
    """Its scans take one place; whoever asks for a young request has a scan of its own,
    which begins at its request.
    """
    log = log_of(*[b"x"] * 600, b"young")
    log.held, log.hold_before_ms = asyncio.Event(), 550_000
    scan = scan_of(log, now_ms=601_000)
    old = [
        asyncio.create_task(offsets(scan, b"x", at, "hostile", within_ms=1_000))
        for at in range(0, 500_000, 100_000)
    ]
    await settled()
    async with asyncio.timeout(5):
        assert await offsets(scan, b"young", 600_000, "kind", within_ms=30_000) == [600]
        assert await offsets(scan, b"young", 600_000, "other") == [600]
    assert log.scans == 3  # one of them is held
    log.held.set()
    assert all(await asyncio.gather(*old))


async def test_tenants_take_turns() -> None:
    """A queue of one tenant's look-ups does not put the others behind all of them."""
    log = log_of(*[b"x"] * 1000)
    scan = scan_of(log, now_ms=1_000_000)
    order: list[str] = []

    async def ask(tenant: str, since_ms: int) -> None:
        await offsets(scan, b"x", since_ms, tenant, within_ms=1_000)
        order.append(tenant)

    hostile = [ask("hostile", at) for at in range(0, 900_000, 60_000)]
    await asyncio.gather(*hostile, ask("b", 930_000), ask("c", 970_000))
    assert max(order.index("b"), order.index("c")) < 5


async def test_tenant_with_too_many_look_ups_is_refused_and_the_others_are_not() -> None:
    """Its own count, which goes down with every answer and with everyone who leaves."""
    log = log_of(b"a")
    log.stuck = asyncio.Event()
    scan = scan_of(log, max_waiting_per_tenant=3, max_waiting=5)
    asking = [asyncio.create_task(offsets(scan, b"a", tenant="hostile")) for _ in range(3)]
    await settled()
    with pytest.raises(TooManyLookupsError):
        await offsets(scan, b"a", tenant="hostile")
    asking += [asyncio.create_task(offsets(scan, b"a", tenant=f"kind{number}")) for number in range(2)]
    await settled()
    with pytest.raises(BusUnavailableError):
        await offsets(scan, b"a", tenant="late")
    asking[0].cancel()
    await settled()
    asking.append(asyncio.create_task(offsets(scan, b"a", tenant="hostile")))
    await settled()
    log.stuck.set()
    assert await asyncio.gather(*asking[1:]) == [[0]] * 5
    assert not scan._asking
    assert not scan._waiting


async def test_scan_keeps_bounded_bytes_and_those_who_came_last_wait_for_the_next() -> None:
    """Everybody has a whole answer in the end; one that is too large alone, too."""
    keys = [b"a", b"b", b"c"] * 10
    log = log_of(*keys, every_ms=1)
    scan = scan_of(log, max_bytes=12)
    found = await asyncio.gather(*(offsets(scan, key) for key in (b"a", b"b", b"c")))
    assert [len(one) for one in found] == [10, 10, 10]
    assert log.scans == 3
    assert len(await offsets(scan_of(log_of(*[b"a"] * 30), max_bytes=3), b"a")) == 30


async def test_scan_that_does_not_end_in_time_is_a_failure_and_no_empty_answer() -> None:
    """Who asks hears that the log could not be read; the next scan is a new one."""
    log = log_of(b"a")
    log.stuck = asyncio.Event()
    scan = scan_of(log, timeout_s=0.01)
    with pytest.raises(BusUnavailableError):
        await offsets(scan, b"a")
    log.stuck.set()
    scan.timeout_s = 10
    assert await offsets(scan, b"a") == [0]


async def test_nobody_waits_for_a_turn_for_ever() -> None:
    """Nor does one who gave up leave anything behind."""
    log = log_of(b"a")
    log.stuck = asyncio.Event()
    scan = scan_of(log, wait_s=0.01)
    with pytest.raises(BusUnavailableError):
        await offsets(scan, b"a")
    assert not scan._asking
    await scan.close()


@pytest.mark.parametrize("failure", [BusUnavailableError("away"), RuntimeError("the driver's")])
async def test_failure_of_any_kind_reaches_all_who_ask(failure: Exception) -> None:
    """Nobody waits for ever."""
    scan = scan_of(FakeLog(failure=failure))
    answers = await asyncio.gather(*(offsets(scan, b"a") for _ in range(3)), return_exceptions=True)
    assert all(isinstance(answer, BusUnavailableError) for answer in answers)


@pytest.mark.parametrize("steps", range(4))
async def test_scan_that_is_given_up_at_any_moment_is_a_failure(steps: int) -> None:
    """Also before its task has begun."""
    scan = scan_of(log_of(b"a"))
    asking = asyncio.create_task(offsets(scan, b"a"))
    for _ in range(steps):
        await asyncio.sleep(0)
    await scan.close()
    async with asyncio.timeout(5):
        outcome = (await asyncio.gather(asking, return_exceptions=True))[0]
    assert outcome == [0] or isinstance(outcome, BusUnavailableError)


def test_each_partition_has_one_scan() -> None:
    """So that those who ask can share it."""
    scans = LogScans("nowhere:1", "n")
    assert scans.of("t", 0) is scans.of("t", 0)
    assert scans.of("t", 0) is not scans.of("t", 1)
