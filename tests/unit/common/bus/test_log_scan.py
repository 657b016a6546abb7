"""Scans of the log: shared, bounded in time, and never taken for an empty answer."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from services.common.bus import Record
from services.common.bus.log_scan import LogScan, LogScans
from services.common.errors import BusUnavailableError
from tests.support.records import record


@dataclass
class FakeLog:
    """A partition whose records a scan reads two at a time."""

    records: list[Record] = field(default_factory=list)
    failure: Exception | None = None
    stuck: asyncio.Event | None = None
    scans: int = 0

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
        return batch


def scan_of(log: FakeLog, *, within_ms: int | None = None) -> LogScan:
    """A scan of a fake log."""
    return LogScan("nowhere:1", "n", "t", 0, within_ms, make_tail=lambda _scan: log.tail())  # type: ignore[arg-type,return-value]


def log_of(*keys: bytes, every_ms: int = 1000) -> FakeLog:
    """A log with a record of each key, one a second."""
    return FakeLog(
        [record(b"v", key=key, offset=at, timestamp_ms=at * every_ms) for at, key in enumerate(keys)]
    )


async def test_scan_finds_a_keys_records_in_order() -> None:
    """Those of others are passed over."""
    found = await scan_of(log_of(b"a", b"b", b"a", b"c", b"a")).records_of(b"a", 0)
    assert [one.offset for one in found] == [0, 2, 4]
    assert await scan_of(log_of()).records_of(b"a", 0) == []


async def test_scan_begins_a_margin_before_its_time_and_ends_within_its_bound() -> None:
    """Clocks of brokers may differ; what lies long before or after is not read."""
    scan = scan_of(log_of(*[b"a"] * 20), within_ms=5_000)
    assert [one.offset for one in await scan.records_of(b"a", 8_000)] == [6, 7, 8, 9, 10, 11, 12]


async def test_those_who_ask_together_share_a_scan() -> None:
    """Fifty that come while one runs cost one more."""
    log = log_of(b"a", b"b", b"a")
    scan = scan_of(log)
    found = await asyncio.gather(*(scan.records_of(b"b" if number % 2 else b"a", 0) for number in range(50)))
    assert [len(one) for one in found] == [2, 1] * 25
    assert log.scans <= 2


async def test_scan_that_does_not_end_in_time_is_a_failure_and_no_empty_answer() -> None:
    """Who asks hears that the log could not be read; the next scan is a new one."""
    log = log_of(b"a")
    log.stuck = asyncio.Event()
    scan = scan_of(log)
    scan.timeout_s = 0.01
    with pytest.raises(BusUnavailableError):
        await scan.records_of(b"a", 0)
    log.stuck.set()
    scan.timeout_s = 10
    assert len(await scan.records_of(b"a", 0)) == 1


@pytest.mark.parametrize("failure", [BusUnavailableError("away"), RuntimeError("the driver's")])
async def test_failure_of_any_kind_reaches_all_who_ask(failure: Exception) -> None:
    """Nobody waits for ever."""
    scan = scan_of(FakeLog(failure=failure))
    answers = await asyncio.gather(*(scan.records_of(b"a", 0) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(answer, BusUnavailableError) for answer in answers)


def test_each_partition_has_one_scan() -> None:
    """So that those who ask can share it."""
    scans = LogScans("nowhere:1", "n")
    assert scans.of("t", 0) is scans.of("t", 0)
    assert scans.of("t", 0) is not scans.of("t", 1)
