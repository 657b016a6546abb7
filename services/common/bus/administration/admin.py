"""Topics as the list in `schemas.topics` wants them, and committed offsets with their
metadata.
"""

import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from schemas.inference import Lane
from schemas.limits import MARGIN_BYTES, MAX_RECORD_BYTES
from schemas.topics import REQUESTS, TOPICS, Topic, dead_letter_topic, requests_topic
from services.common.bus.connecting import start_driver
from services.common.bus.coordinates import CommittedOffset, TopicPartition
from services.common.errors import BusUnavailableError
from services.common.process.kafka_address import connection_options
from services.common.requests.model_catalogue import ModelConfig
from services.common.retry import retry

_TOPIC_EXISTS = 36
_REPLICATION = 3
"""Copies of each record, where there are so many brokers."""


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What provisioning did."""

    created: tuple[str, ...]
    updated: tuple[str, ...]
    unchanged: tuple[str, ...]
    too_few_partitions: tuple[str, ...]


@contextlib.asynccontextmanager
async def admin(url: str, timeout_s: float = 30.0) -> AsyncIterator[AIOKafkaAdminClient]:
    """An administration client.

    Raises:
        BusUnavailableError: no broker within `timeout_s`.
    """

    async def connect() -> AIOKafkaAdminClient:
        client = AIOKafkaAdminClient(**connection_options(url), request_timeout_ms=15_000)
        await start_driver(url, client.start, client.close)
        return client

    client = await retry(connect, timeout_s=timeout_s)
    try:
        yield client
    finally:
        await client.close()


def topics_for(models: Iterable[ModelConfig]) -> list[tuple[str, Topic]]:
    """Every topic's name with its definition: the fixed ones, one a model and lane, and
    the dead-letter topics.
    """
    wanted = [(topic.name, topic) for topic in TOPICS if topic is not REQUESTS]
    wanted += [(requests_topic(model.name, Lane(lane)), REQUESTS) for model in models for lane in model.lanes]
    wanted += [
        (dead_letter_topic(topic).name, dead_letter_topic(topic)) for topic in TOPICS if topic.dead_letters
    ]
    return wanted


def topic_settings(topic: Topic) -> dict[str, str]:
    """Kafka's settings that make a topic's retention true, and look-ups by time.

    Both go by the time at which the broker appended a record, whatever the clocks of
    those who write it say.
    """
    if topic.retention is None or topic.segment is None:
        return {
            "cleanup.policy": "compact",
            "segment.ms": "3600000",
            "min.cleanable.dirty.ratio": "0.1",
            "max.compaction.lag.ms": "86400000",  # receipts of erasures rest on these two
            "delete.retention.ms": "86400000",
        }
    return {
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(int(topic.retention.total_seconds() * 1000)),
        "segment.ms": str(int(topic.segment.total_seconds() * 1000)),
        "max.message.bytes": str(MAX_RECORD_BYTES + 2 * MARGIN_BYTES),
    }


async def provision(url: str, models: Iterable[ModelConfig], scale: float) -> Provisioned:
    """Creates the topics that are missing and mends the settings of those that differ.

    Never deletes, never shrinks.

    Raises:
        BusUnavailableError: no broker, or it refused.
    """
    created: list[str] = []
    updated: list[str] = []
    unchanged: list[str] = []
    few: list[str] = []
    async with admin(url) as client:
        replication = min(_REPLICATION, len((await client.describe_cluster())["brokers"]))
        existing = {one["topic"]: len(one["partitions"]) for one in await client.describe_topics()}
        for name, topic in topics_for(models):
            if name not in existing:
                await _create(
                    client,
                    NewTopic(
                        name, topic.partition_count(scale), replication, topic_configs=topic_settings(topic)
                    ),
                )
                created.append(name)
                continue
            if existing[name] < topic.partition_count(scale):
                few.append(name)
            (updated if await _mend(client, name, topic) else unchanged).append(name)
    return Provisioned(tuple(created), tuple(updated), tuple(unchanged), tuple(few))


async def committed_offsets(url: str, group: str) -> dict[TopicPartition, CommittedOffset]:
    """What a consumer group has committed, with the commits' metadata.

    Raises:
        BusUnavailableError: no broker, or it did not answer.
    """
    async with admin(url) as client:
        try:
            found = await client.list_consumer_group_offsets(group)
        except KafkaError as error:
            raise BusUnavailableError(f"the offsets of {group} could not be read: {error!r}") from error
    return {
        TopicPartition(*place): CommittedOffset(one.offset, one.metadata or "")
        for place, one in found.items()
        if one.offset >= 0
    }


async def _create(client: AIOKafkaAdminClient, topic: NewTopic) -> None:
    response = await client.create_topics([topic])
    for one in response.topic_errors:
        code = one[1]
        if code not in (0, _TOPIC_EXISTS):
            raise BusUnavailableError(
                f"Kafka refused to create {topic.name}: {for_code(code)(one[2] if len(one) > 2 else '')!r}"
            )


async def _mend(client: AIOKafkaAdminClient, name: str, topic: Topic) -> bool:
    wanted = topic_settings(topic)
    responses = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    current = {
        entry[0]: entry[1]
        for response in responses
        for resource in response.resources
        for entry in resource[4]
    }
    if all(current.get(key) == value for key, value in wanted.items()):
        return False
    await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=wanted)])
    return True
