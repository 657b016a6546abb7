"""Following partitions of a real broker without a group."""

from uuid import uuid4

from schemas.control import KeyChanged, Scope
from schemas.topics import CONTROL
from services.common.bus import Outgoing, Producer, Start, Tail
from services.common.bus.administration.admin import provision
from services.common.clock import utc_now
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
