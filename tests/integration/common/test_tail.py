"""Following partitions of a real broker without a group."""

import asyncio
import contextlib
from unittest.mock import AsyncMock
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaTimeoutError

from schemas.control import KeyChanged, Scope
from schemas.topics import CONTROL
from services.common.bus import Outgoing, Producer, Start, Tail, TransactionalProducer
from services.common.bus.administration.admin import provision
from services.common.bus.consumers.consumer import written_ends
from services.common.clock import utc_now
from services.common.errors import BusUnavailableError
from tests.support.kafka import Broker


def _change(number: int) -> Outgoing:
    key = KeyChanged(
        key_id=f"{uuid4().hex[:6]}{number:02}",
        secret_hmac="0" * 64,
        name="n",
        tenant="acme",
        user="",
        scopes=(Scope.INFER,),
        created_at=utc_now(),
    )
    return Outgoing(CONTROL.name, key, subject=key.key_id, tenant="acme", partition=0)


async def test_read_to_end_gives_everything_up_to_now_and_ends(kafka: Broker) -> None:
    """What was there is read once, and nobody waits for what may come later."""
    await provision(kafka.bootstrap, [], 0.1)
    producer, tail = Producer(kafka.bootstrap, "t"), Tail(kafka.bootstrap, "t", topic=CONTROL.name)
    try:
        await producer.start()
        sent = [(await producer.send(_change(number))).offset for number in range(30)]
        await tail.start([0], Start.BEGINNING)
        read = [record.offset async for records in tail.read_to_end() for record in records]
        assert read[-30:] == sent
        assert [batch async for batch in tail.read_to_end()] == []
    finally:
        await tail.close()
        await producer.close()


async def test_committed_records_are_read_to_the_written_ends(kafka: Broker) -> None:
    """A tail of committed records that reads to there waits until the transactions that
    wrote before are decided, and misses none that was committed.
    """
    await provision(kafka.bootstrap, [], 0.1)
    name = f"t-{uuid4().hex[:8]}"
    writer = TransactionalProducer(kafka.bootstrap, name, transactional_id=name)
    tail = Tail(kafka.bootstrap, "t", topic=CONTROL.name, committed_only=True)

    async def read() -> list[int]:
        ends = await written_ends(Tail(kafka.bootstrap, "t-ends", topic=CONTROL.name))
        asked.set()
        return [one.offset async for records in tail.read_to_end(ends, poll_s=0.05) for one in records]

    try:
        await writer.start()
        await tail.start([0], Start.END)
        for is_committed in (True, False, True):
            asked = asyncio.Event()
            with contextlib.suppress(_GivenUp):
                async with writer.transaction("", {}):
                    sent = [await (await writer.send_soon(_change(number))) for number in range(3)]
                    reading = asyncio.create_task(read())
                    await asyncio.wait_for(asked.wait(), 20)
                    if not is_committed:
                        raise _GivenUp
            wanted = [one.offset for one in sent] if is_committed else []
            assert await asyncio.wait_for(reading, 20) == wanted
    finally:
        await tail.close()
        await writer.close()


class _GivenUp(Exception):  # noqa: N818  it is no error
    """Aborts a transaction."""


async def test_tail_that_does_not_begin_is_disconnected(
    kafka: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails after it has connected is told as the bus's, and leaves no
    connection behind (pytest is told of an unclosed driver).
    """
    stopped = _stops(monkeypatch)
    tail = Tail(kafka.bootstrap, "t", topic=CONTROL.name)
    monkeypatch.setattr(AIOKafkaConsumer, "seek_to_beginning", AsyncMock(side_effect=KafkaTimeoutError))
    with pytest.raises(BusUnavailableError, match="did not answer"):
        await tail.start([0], Start.BEGINNING)
    assert len(stopped) == 1
    with pytest.raises(BusUnavailableError, match="not started"):
        await tail.poll(0)


async def test_tail_that_begins_anew_leaves_one_connection(
    kafka: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a caller that lost count of its starts had is closed first."""
    stopped = _stops(monkeypatch)
    tail = Tail(kafka.bootstrap, "t", topic=CONTROL.name)
    await tail.start([], {})
    await tail.start([], {})
    assert len(stopped) == 1
    await tail.close()
    assert len(set(stopped)) == 2


def _stops(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Which drivers were stopped."""
    stopped: list[int] = []
    stop = AIOKafkaConsumer.stop

    async def counted(driver: AIOKafkaConsumer) -> None:
        stopped.append(id(driver))
        await stop(driver)

    monkeypatch.setattr(AIOKafkaConsumer, "stop", counted)
    return stopped
