"""Carrying the use of limits over the bus, without one."""

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.events.gateways.limits import LimitShares
from services.common.bus import Outgoing
from services.common.errors import BusUnavailableError
from services.common.process import metrics
from services.gateway.limits.peer_usage import PeerUsage
from services.gateway.limits.usage_exchange import UsageExchange
from services.gateway.limits.valkey.shared_limits import SharedLimits


@dataclass
class FakeProducer:
    """Keeps what is sent; `fails` says what becomes of each record: not taken, or
    refused by the broker afterwards.
    """

    fails: list[str] = field(default_factory=list)
    sent: list[LimitShares] = field(default_factory=list)

    async def send_soon(self, record: Outgoing) -> "asyncio.Future[Any]":
        how = self.fails.pop(0) if self.fails else ""
        if how == "not taken":
            raise BusUnavailableError("the buffer is full")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if how == "refused":
            future.set_exception(BusUnavailableError("no leader"))
        else:
            assert isinstance(record.value, LimitShares)
            self.sent.append(record.value)
            future.set_result(None)
        return future


class FakeTail:
    """A topic that others have written to."""

    def __init__(self, *records: Any, stalls: bool = False) -> None:
        self.records = list(records)
        self.stalls = stalls
        self.sought: list[int] = []
        self.asked_ms = 0

    async def start(self, *_: Any) -> None: ...

    async def close(self) -> None: ...

    def seek(self, _topic: str, _partition: int, offset: int) -> None:
        self.sought.append(offset)
        self.records = [one for one in self.records if one.offset >= offset]

    async def offsets_at(self, _topic: str, _partitions: Any, time_ms: int) -> dict[int, int]:
        self.asked_ms = time_ms
        return {0: 17}

    async def end_offsets(self, _topic: str, _partitions: Any) -> dict[int, int]:
        return {0: 20}

    async def read_to_end(self, ends: dict[int, int]) -> Any:
        assert ends == {0: 20}
        if self.stalls:
            yield [self.records.pop(0)]
            await asyncio.Event().wait()
        yield self.records

    async def poll(self) -> list[Any]:
        await asyncio.sleep(0.01)
        found, self.records = self.records, []
        return found


def record(told: LimitShares, timestamp: int = 0, offset: int = 17) -> Any:
    """A record of the log."""
    return SimpleNamespace(value=told.encode(), timestamp=timestamp, partition=0, offset=offset)


def usage_exchange(
    producer: FakeProducer, tail: FakeTail
) -> tuple[UsageExchange, list[tuple[str, float, float]]]:
    """A gateway's part, at 1000 s, and what it hears of others' use."""
    heard: list[tuple[str, float, float]] = []
    made = UsageExchange(
        tail,  # type: ignore[arg-type]
        producer,  # type: ignore[arg-type]
        PeerUsage("g1", "g1/1"),
        lambda: 5_000_000,
        lambda: 1000.0,
        lambda name, seconds, at_s: heard.append((name, seconds, at_s)),
    )
    return made, heard


async def test_start_reads_back_an_hour_of_use_with_its_age() -> None:
    """Of every gateway, former lives of this one included: a restart resets no limit."""
    tail = FakeTail(
        record(LimitShares(gateway_id="g2", incarnation="x", used={"a": 6.0}), 4_970_000),
        record(LimitShares(gateway_id="g1", incarnation="g1/0", used={"b": 1.0}), 5_000_500),
    )
    share, heard = usage_exchange(FakeProducer(), tail)
    await share.start()
    assert heard == [("a", 6.0, 970.0), ("b", 1.0, 1000.0)]
    assert (tail.sought, tail.asked_ms) == ([17], 5_000_000 - 3_600_000)


async def test_use_that_is_not_read_back_in_time_is_forgotten_and_not_taken_for_new() -> None:
    """Read later, as if it were used then, it would keep callers out for as long as it
    took others to use it.
    """
    old = [
        record(LimitShares(gateway_id="g2", incarnation="x", used={"a": float(offset)}), 4_000_000, offset)
        for offset in (17, 18, 19)
    ]
    new = record(LimitShares(gateway_id="g2", incarnation="x", used={"b": 2.0}), 5_000_000, 20)
    tail = FakeTail(*old, new, stalls=True)
    share, heard = usage_exchange(FakeProducer(), tail)
    share.read_back_timeout_s = 0.05
    await share.start()
    assert heard == [("a", 17.0, 0.0)]
    running = asyncio.create_task(share.run())
    async with asyncio.timeout(10):
        while len(heard) < 2:  # noqa: ASYNC110  what is looked at has no event
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert heard[1:] == [("b", 2.0, 1000.0)]
    assert tail.sought == [17, 20]


@pytest.mark.parametrize("how", ["not taken", "refused"])
async def test_record_that_the_bus_refuses_is_told_again_and_counted(how: str) -> None:
    """The next record carries it."""
    producer = FakeProducer([how])
    share, _ = usage_exchange(producer, FakeTail())
    before = metrics.LIMITS_UNTOLD._value.get()
    share.peer_usage.use("a", 6.0)
    share.peer_usage.set("b", 2.0)
    running = asyncio.create_task(share.run())
    async with asyncio.timeout(10):
        while not producer.sent:  # noqa: ASYNC110  what is looked at has no event
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (producer.sent[0].used, producer.sent[0].held) == ({"a": 6.0}, {"b": 2.0})
    assert metrics.LIMITS_UNTOLD._value.get() == before + 1


async def test_garbage_on_the_topic_is_passed_over() -> None:
    """Not a record, and not a number."""
    nonsense = [
        SimpleNamespace(value=value, timestamp=0, partition=0, offset=18)
        for value in (None, b"{", b'{"gateway_id":"g","incarnation":"i","used":{"a":"NaN"}}')
    ]
    good = record(LimitShares(gateway_id="g2", incarnation="x", used={"a": 1.0}))
    share, heard = usage_exchange(FakeProducer(), FakeTail(*nonsense, good))
    await share.start()
    assert [name for name, _, _ in heard] == ["a"]


async def test_close_tells_that_nothing_is_held_any_more() -> None:
    """A clean stop frees at once what it held; a bus that is away does not hinder it."""
    producer = FakeProducer(["not taken"])
    share, _ = usage_exchange(producer, FakeTail())
    share.peer_usage.set("b", 2.0)
    await share.close()
    assert producer.sent == []
    await share.close()
    assert producer.sent[0].stopping


async def test_others_hear_of_a_gateway_as_soon_as_it_runs() -> None:
    """It may let nothing in under a hard budget before: it has nothing else to tell."""
    producer = FakeProducer()
    share, _ = usage_exchange(producer, FakeTail())
    running = asyncio.create_task(share.run())
    for _ in range(5):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert [(one.gateway_id, one.incarnation, one.stopping) for one in producer.sent] == [
        ("g1", "g1/1", False)
    ]


async def test_names_passed_over_are_exported() -> None:
    """Own or a peer's: such a limit may not hold."""
    share, _ = usage_exchange(FakeProducer(), FakeTail())
    counter = metrics.LIMITS_PASSED_OVER.labels("peers")._value
    before = counter.get()
    for number in range(65_540):
        share.peer_usage.set(f"n{number}", 1.0)
    running = asyncio.create_task(share.run())
    async with asyncio.timeout(5):
        while counter.get() == before:  # noqa: ASYNC110  what is looked at has no event
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (counter.get() - before, share.peer_usage.passed_over) == (4, 0)


def test_names_that_the_store_is_not_told_are_counted() -> None:
    """It does not answer, and more limits changed than are remembered for it."""
    store = SharedLimits("valkey://nowhere", "g1/1", lambda _name: 0.0)
    counter = metrics.LIMITS_PASSED_OVER.labels("store")._value
    before = counter.get()
    for _ in range(2):
        store._note_unsure(f"n{number}" for number in range(10_003))
    assert counter.get() - before == 2 * 3
