"""A producer that fails for good, on a real broker."""

import asyncio
from collections.abc import Callable

import aiokafka
import pytest

from schemas.inference import ReplyBeat
from schemas.topics import REPLIES
from services.common.bus import Outgoing, Producer, Start, Tail
from services.common.bus.administration.admin import provision
from tests.support.kafka import Broker


def lose_count(producer: Producer) -> None:
    """The broker will refuse what comes next: its number is not the one it waits for."""
    driver = producer._driver
    assert driver is not None
    driver._txn_manager.increment_sequence_number(aiokafka.TopicPartition(REPLIES.name, 0), 7)


def lose_sender(producer: Producer) -> None:
    """The driver's own task ends."""
    driver = producer._driver
    assert driver is not None
    driver._sender.sender_task.cancel()


def beat(number: int) -> Outgoing:
    """A small record."""
    value = ReplyBeat(request_id=f"r{number}", attempt=1, replica_id="x")
    return Outgoing(topic=REPLIES.name, value=value, subject=f"r{number}", tenant="", partition=0)


@pytest.mark.parametrize("fail", [lose_count, lose_sender])
async def test_producer_that_failed_for_good_is_replaced(
    kafka: Broker, fail: Callable[[Producer], None]
) -> None:
    """At most the record at hand is refused; those after it arrive, many at once too,
    through one new driver.
    """
    await provision(kafka.bootstrap, [], 0.125)
    producer = Producer(kafka.bootstrap, "test-producer", timeout_s=10.0)
    tail = Tail(kafka.bootstrap, "test-tail", topic=REPLIES.name)
    await producer.start()
    await tail.start([0], Start.END)
    try:
        await producer.send(beat(0))
        failed = producer._driver
        fail(producer)
        await asyncio.sleep(0)
        sent = [await producer.send_soon(beat(1))]
        await asyncio.gather(*sent, return_exceptions=True)
        await asyncio.gather(*(producer.send(beat(number)) for number in range(2, 30)))
        assert producer._driver is not failed
        seen: list[bytes] = []
        async with asyncio.timeout(20):
            while len([key for key in seen if key not in (b"r0", b"r1")]) < 28:
                seen += [record.key for record in await tail.poll(0.5)]
        assert {f"r{number}".encode() for number in range(2, 30)} <= set(seen)
        assert len(seen) == len(set(seen))
    finally:
        await tail.close()
        await producer.close()
