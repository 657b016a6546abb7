"""Reading again what was left in the log, which may have gone from there."""

import asyncio

import pytest

from schemas.errors import ErrorCode
from services.common.bus import TopicPartition
from services.inference.dispatcher.deferred_reader import DeferredReader
from tests.support.bus.records import record
from tests.support.inference.dispatch_world import LANE, TIGHT, World, request
from tests.support.inference.fake_log import FakeLog, FakeProducer, adapter_of, connections_of


@pytest.mark.parametrize(("begins", "lost"), [(9, 8), (20, 8), (5, 4), (0, 0)])
async def test_deferred_records_that_retention_took_end_their_requests_once(begins: int, lost: int) -> None:
    """Whether the log is empty now, begins between them, or holds them all: those that
    are gone end as lost and are told, the others are read.
    """
    world, place = World(TIGHT), TopicPartition(LANE, 0)
    world.pass_time(1)
    world.ask(*(request(number, deadline_s=1e9) for number in range(9)))
    kept = [
        record(one.encode(), offset=offset, topic=LANE)
        for offset, one in enumerate(world.lane)
        if offset >= begins
    ]
    connections = connections_of(FakeLog({LANE: kept}, {LANE: begins}), place)
    world.replicas["m#1"] = {}
    reader = DeferredReader(
        connections.deferred, connections.queries, world.dispatch, adapter_of(connections)
    )
    reading = asyncio.create_task(reader.run())
    async with asyncio.timeout(10):
        while not settled(world, lost):
            await asyncio.sleep(0.001)
            world.beat()
            for key in list(world.replicas["m#1"]):
                world.finish("m#1", key)
            world.commit()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    gone = [end for end in world.ends if end.error_code == ErrorCode.REQUEST_LOST]
    assert (len(gone), {end.cost_usd for end in gone} <= {0}) == (lost, True)
    assert len({end.request_id for end in world.ends}) == len(world.ends)
    assert isinstance(connections.out, FakeProducer)
    assert len(connections.out.sent) >= lost


def settled(world: World, lost: int) -> bool:
    """Whether nothing is left in the log that is gone from there."""
    world.commit()
    ended = sum(end.error_code == ErrorCode.REQUEST_LOST for end in world.ends)
    return ended >= lost and (lost > 0 or world.dispatch.waiting.backlogs[LANE].deferred < 8)
