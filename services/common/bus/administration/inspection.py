"""Looking at the bus from outside: are the topics as they should be, how far behind is
a group.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as DriverPartition
from aiokafka.errors import KafkaError

from services.common.bus.administration.admin import admin, committed_offsets, topics_for
from services.common.bus.coordinates import TopicPartition
from services.common.errors import BusUnavailableError
from services.common.process.kafka_address import connection_options, without_password
from services.common.requests.model_catalogue import ModelConfig


@dataclass(frozen=True, slots=True)
class TopicState:
    """What differs between the topics that are wanted and those that are there."""

    wanted: int
    missing: tuple[str, ...]
    too_few_partitions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GroupProgress:
    """A consumer group: whether anybody is in it, and the offsets of a topic up to which it
    has committed, by partition.
    """

    is_running: bool
    committed: Mapping[int, int]


async def readers_of(url: str, topic: str, timeout_s: float = 10.0) -> dict[str, GroupProgress]:
    """The groups that have ever committed an offset of a topic.

    Raises:
        BusUnavailableError: no broker, or it did not answer within `timeout_s`.
    """
    readers: dict[str, GroupProgress] = {}
    try:
        async with asyncio.timeout(timeout_s), admin(url, timeout_s=timeout_s) as client:
            for group in sorted({str(one[0]) for one in await client.list_consumer_groups()}):
                offsets = await client.list_consumer_group_offsets(group)
                done = {
                    one.partition: at.offset
                    for one, at in offsets.items()
                    if one.topic == topic and at.offset >= 0
                }
                if done:
                    (described,) = (await client.describe_consumer_groups([group]))[0].groups
                    readers[group] = GroupProgress(bool(described[5]), done)
    except (TimeoutError, KafkaError, OSError) as error:
        raise BusUnavailableError(
            f"Kafka at {without_password(url)} does not tell who reads {topic}: {error!r}"
        ) from error
    return readers


async def topic_state(
    url: str, models: Iterable[ModelConfig], scale: float, timeout_s: float = 5.0
) -> TopicState:
    """Compares the topics with the list.

    Raises:
        BusUnavailableError: no broker within `timeout_s`.
    """
    wanted, there = topics_for(models), await partition_counts(url, timeout_s)
    few = tuple(name for name, topic in wanted if 0 < there.get(name, 0) < topic.partition_count(scale))
    return TopicState(len(wanted), tuple(name for name, _ in wanted if name not in there), few)


async def partition_counts(url: str, timeout_s: float = 5.0) -> dict[str, int]:
    """How many partitions each topic has that is there.

    Raises:
        BusUnavailableError: no broker within `timeout_s`.
    """
    try:
        async with asyncio.timeout(timeout_s + 5), admin(url, timeout_s=timeout_s) as client:
            return {one["topic"]: len(one["partitions"]) for one in await client.describe_topics()}
    except (TimeoutError, KafkaError) as error:
        raise BusUnavailableError(
            f"Kafka at {without_password(url)} does not describe its topics: {error!r}"
        ) from error


async def lag(url: str, group: str, topics: Iterable[str], timeout_s: float = 10.0) -> dict[str, int]:
    """How many offsets a group has still to deal with, a topic.

    Topics that are not there are left out.

    Raises:
        BusUnavailableError: no broker, or it did not answer within `timeout_s`.
    """
    wanted = set(topics)
    try:
        async with asyncio.timeout(timeout_s):
            there = {
                topic: count for topic, count in (await partition_counts(url)).items() if topic in wanted
            }
            partitions = [
                DriverPartition(topic, one) for topic, count in there.items() for one in range(count)
            ]
            begins, ends = await _ranges(url, partitions)
            committed = await committed_offsets(url, group)
    except (TimeoutError, KafkaError, OSError) as error:
        raise BusUnavailableError(
            f"Kafka at {without_password(url)} does not tell how far {group} is: {error!r}"
        ) from error
    behind = dict.fromkeys(there, 0)
    for partition in partitions:
        known = committed.get(TopicPartition(*partition))
        done = known.offset if known else begins[partition]
        behind[partition.topic] += max(0, ends[partition] - done)
    return behind


async def group_lags(url: str, timeout_s: float = 5.0) -> dict[str, dict[str, int]]:
    """How many records each consumer group has still to deal with, a topic, by what it
    has committed. Transaction markers count too: a few may remain when all is done.

    Raises:
        BusUnavailableError: no broker, or it did not answer within `timeout_s`.
    """
    try:
        async with asyncio.timeout(timeout_s), admin(url, timeout_s=timeout_s) as client:
            groups = sorted({str(one[0]) for one in await client.list_consumer_groups()})
            committed = {group: await client.list_consumer_group_offsets(group) for group in groups}
        async with asyncio.timeout(timeout_s):
            _, ends = await _ranges(url, {one for offsets in committed.values() for one in offsets})
    except (TimeoutError, KafkaError, OSError) as error:
        raise BusUnavailableError(
            f"Kafka at {without_password(url)} does not tell how far its groups are: {error!r}"
        ) from error
    lags: dict[str, dict[str, int]] = {}
    for group, offsets in committed.items():
        behind = lags.setdefault(group, {})
        for partition, done in offsets.items():
            if done.offset >= 0:
                topic = partition.topic
                behind[topic] = behind.get(topic, 0) + max(0, ends[partition] - done.offset)
    return lags


async def _ranges(
    url: str, partitions: Iterable[DriverPartition]
) -> tuple[dict[DriverPartition, int], dict[DriverPartition, int]]:
    """The first offset of each partition, and its end for readers of committed records."""
    asked = list(partitions)
    if not asked:
        return {}, {}
    consumer = AIOKafkaConsumer(
        **connection_options(url), isolation_level="read_committed", enable_auto_commit=False
    )
    try:
        await consumer.start()
        consumer.assign(asked)
        return await consumer.beginning_offsets(asked), await consumer.end_offsets(asked)
    finally:
        await consumer.stop()
