"""The embedded broker: real Apache Kafka, real sockets, real kills."""

import uuid

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.kafka import Broker


async def make_topic(bootstrap: str) -> str:
    """A topic of one partition with a name of its own."""
    name = f"test-{uuid.uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 1, 1)])
    finally:
        await admin.close()
    return name


async def read_all(bootstrap: str, topic: str) -> list[bytes]:
    """Every record of the topic's only partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        records: list[bytes] = []
        while await consumer.position(partition) < end:
            batches = await consumer.getmany(timeout_ms=1000)
            records += [record.value for batch in batches.values() for record in batch]
        return records
    finally:
        await consumer.stop()


async def test_broker_gives_back_what_was_produced(kafka: Broker) -> None:
    """A record written to the session's broker is read from it."""
    topic = await make_topic(kafka.bootstrap)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        await producer.send_and_wait(topic, b"hello")
    finally:
        await producer.stop()
    assert await read_all(kafka.bootstrap, topic) == [b"hello"]
