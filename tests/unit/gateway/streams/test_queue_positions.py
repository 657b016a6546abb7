"""Places in the queue, from a topic that newer versions write to as well."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from schemas.inference import Lane, QueueStatus
from services.common.bus import Record
from services.common.clock import MonotonicClock
from services.common.errors import BusUnavailableError
from services.common.process import metrics
from services.gateway.streams.queue_positions import QueuePosition, QueuePositions
from tests.support.bus.records import record


@dataclass
class FakeTail:
    """Hands out one batch, then nothing more."""

    batches: list[list[Record] | BusUnavailableError] = field(default_factory=list)
    starts: int = 0
    closed: int = 0
    empty: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self, *_: object) -> None:
        self.starts += 1

    async def close(self) -> None:
        self.closed += 1

    async def poll(self, _timeout_s: float) -> list[Record]:
        if not self.batches:
            self.empty.set()
            await asyncio.Event().wait()
        batch = self.batches.pop(0)
        if isinstance(batch, BusUnavailableError):
            raise batch
        return batch


def queue(
    positions: dict[str, int], *, active: bool = True, eta_ms: float | None = 100, **fields: Any
) -> Record:
    """A dispatcher's word on its queue."""
    status = QueueStatus(
        dispatcher_id="d",
        model="m",
        host="h",
        pid=1,
        active=active,
        eta_ms=eta_ms,
        positions=positions,
        **fields,
    )
    return record(status.encode())


async def positions_after(
    *batches: list[Record] | BusUnavailableError, clock: MonotonicClock = lambda: 0.0
) -> tuple[QueuePositions, FakeTail]:
    """What is known once these batches were read."""
    tail = FakeTail(list(batches))
    positions = QueuePositions(tail, clock)  # type: ignore[arg-type]
    positions.want(wanted=True)
    running = asyncio.create_task(positions.run())
    await tail.empty.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return positions, tail


async def test_place_is_what_the_active_dispatcher_says() -> None:
    """A standby's word changes nothing; the wait grows with the place."""
    positions, _ = await positions_after([queue({"a": 1, "b": 2}), queue({}, active=False)])
    assert positions.place_of("b", "m") == QueuePosition(2, 200)
    assert positions.place_of("c", "m") is None
    assert positions.place_of("b", "other") is None


async def test_kinds_of_a_newer_version_are_counted_and_skipped() -> None:
    """Between, before and after what is known; also such as look like a queue's."""
    strange = [
        record(b'{"kind":"weather"}'),
        record(b'{"kind":"queue_v2","was":{"kind":"queue"}}'),
        record(b'{"kind":"queue"}'),
        record(None),
    ]
    counters = [
        metrics.BUS_SKIPPED.labels("inference.status.v1", why)._value
        for why in ("unknown_kind", "unreadable")
    ]
    before = [one.get() for one in counters]
    positions, _ = await positions_after([*strange, queue({"a": 1}), *strange])
    assert positions.place_of("a", "m") == QueuePosition(1, 100)
    assert [one.get() - was for one, was in zip(counters, before, strict=True)] == [2, 2]


async def test_nobody_waiting_forgets_the_queues() -> None:
    """A place is never older than its being wanted."""
    positions, tail = await positions_after([queue({"a": 1})])
    positions.want(wanted=False)
    assert positions.place_of("a", "m") is None
    assert (tail.starts, tail.closed) == (1, 1)


def turn(tenant: str, waiting: int, share: int = 1) -> dict[str, Any]:
    """A tenant's turn, as it is told."""
    return {"tenant": tenant, "waiting": waiting, "share": share}


@pytest.mark.parametrize(
    ("tenant", "lane", "share", "position"),
    [
        ("new", Lane.INTERACTIVE, 1, 20 + 1 + 1 + 21 // 7),  # a whole turn of the flood, one of the other
        ("other", Lane.INTERACTIVE, 1, 2 + 3 * 20 + 1 + 62 // 7),  # its own two, three turns of the flood
        ("other", Lane.INTERACTIVE, 3, 2 + 20 + 1 + 22 // 7),  # its own two in the same turn
        ("flood", Lane.INTERACTIVE, 20, 1000 + 2 + 1 + 1002 // 7),  # all, and every eighth of the batch lane
        ("new", Lane.BATCH, 1, 1 + 2 * 7 + 1),  # one of the other, and seven interactive ones before each
    ],
)
async def test_place_of_the_next_request_is_that_of_its_tenants_turn(
    tenant: str, lane: Lane, share: int, position: int
) -> None:
    """Not the end of the queue: tenants are served in turn by their shares."""
    news = queue(
        {},
        turns={
            Lane.INTERACTIVE: [turn("flood", 1000, 20), turn("other", 2)],
            Lane.BATCH: [turn("night", 200)],
        },
    )
    positions, _ = await positions_after([news])
    assert positions.position_of_next(tenant, "m", lane, share=share) == QueuePosition(
        position, position * 100
    )


async def test_retries_are_before_the_next_request() -> None:
    """Also where nobody else waits."""
    positions, _ = await positions_after([queue({}, retries=3)])
    assert positions.position_of_next("t", "m", Lane.BATCH, share=1) == QueuePosition(4, 400)


async def test_next_request_has_no_place_where_nobody_waits_or_nobody_tells() -> None:
    """An empty queue, another model, a dispatcher that went silent."""
    time_s = [0.0]
    positions, _ = await positions_after([queue({}, turns={Lane.INTERACTIVE: []})], clock=lambda: time_s[0])
    assert positions.position_of_next("t", "m", Lane.INTERACTIVE, share=1) is None
    positions, _ = await positions_after(
        [queue({}, turns={Lane.BATCH: [turn("o", 1)]})], clock=lambda: time_s[0]
    )
    assert positions.position_of_next("t", "other", Lane.INTERACTIVE, share=1) is None
    assert positions.position_of_next("t", "m", Lane.INTERACTIVE, share=1) == QueuePosition(1, 100)
    time_s[0] = 2.1
    assert positions.position_of_next("t", "m", Lane.INTERACTIVE, share=1) is None
