"""Readers of other gateways' partitions: the task that opens one closes it, however it ends."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.common.bus import ReadProgress
from services.common.errors import BusUnavailableError
from services.common.process.health import HealthState
from services.gateway.bus.monitor import BusMonitor
from services.gateway.streams.reader import ReaderPool


@dataclass
class FakeReader:
    """Opens and closes; reads until it is told that it is idle."""

    partition: int = 0
    failure: Exception | None = None
    is_open: bool = False
    touched: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    progress: ReadProgress = field(default_factory=ReadProgress)

    async def start(self, partition: int) -> None:
        self.partition = partition
        self.is_open = True
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure

    async def run(self, *, until_idle: bool = False) -> None:
        await self.idle.wait()

    async def close(self) -> None:
        self.is_open = False

    def touch(self) -> None:
        self.touched += 1

    def clock(self) -> float:
        return 7.0


@dataclass
class Pool:
    """A pool that runs, and every other reader that it made."""

    pool: ReaderPool
    running: "asyncio.Task[None]"
    made: list[FakeReader] = field(default_factory=list)
    failure: Exception | None = None

    def make(self, _own: Any, _partition: int) -> Any:
        """Another reader."""
        self.made.append(FakeReader(failure=self.failure))
        return self.made[-1]


@pytest.fixture
async def scene() -> AsyncIterator[Pool]:
    """A pool whose own reader is of partition 0."""
    monitor = BusMonitor(None, HealthState(), [])  # type: ignore[arg-type]
    pool = ReaderPool(FakeReader(), monitor)  # type: ignore[arg-type]
    made = Pool(pool, asyncio.create_task(pool.run()))
    pool.make_reader = made.make
    await asyncio.sleep(0)
    yield made
    made.running.cancel()
    await asyncio.gather(made.running, return_exceptions=True)


async def test_partition_has_one_reader_until_it_is_idle(scene: Pool) -> None:
    """Those who ask together share it; the next after that gets another."""
    first, second = await asyncio.gather(scene.pool.reader_of(3), scene.pool.reader_of(3))
    assert first is second
    assert await scene.pool.reader_of(3) is first
    assert await scene.pool.reader_of(0) is scene.pool.own
    scene.made[0].idle.set()
    async with asyncio.timeout(5):
        while scene.made[0].is_open:  # noqa: ASYNC110  closing has no event
            await asyncio.sleep(0)
    assert await scene.pool.reader_of(3) is not first
    assert [one.is_open for one in scene.made] == [False, True]


@pytest.mark.parametrize("failure", [BusUnavailableError("away"), OSError("no more sockets")])
async def test_reader_that_cannot_start_is_closed_and_the_next_one_tried(
    scene: Pool, failure: Exception
) -> None:
    """Whoever asked hears of it, and nobody else."""
    scene.failure = failure
    with pytest.raises(BusUnavailableError):
        await scene.pool.reader_of(3)
    scene.failure = None
    assert (await scene.pool.reader_of(3)).partition == 3
    assert [one.is_open for one in scene.made] == [False, True]
    assert not scene.running.done()


@pytest.mark.parametrize("steps", range(6))
async def test_pool_that_ends_at_any_moment_leaves_no_reader_open_and_nobody_waiting(
    scene: Pool, steps: int
) -> None:
    """Before the reader's task has begun, while it connects, while it reads."""
    asking = asyncio.create_task(scene.pool.reader_of(3))
    for _ in range(steps):
        await asyncio.sleep(0)
    scene.running.cancel()
    async with asyncio.timeout(5):
        with contextlib.suppress(asyncio.CancelledError):
            await scene.running
        with contextlib.suppress(BusUnavailableError):
            await asking
    assert not any(one.is_open for one in scene.made)
    with pytest.raises(BusUnavailableError):
        await scene.pool.reader_of(4)
