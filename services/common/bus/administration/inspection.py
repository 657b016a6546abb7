"""Looking at the bus from outside: are the topics as they should be, how far behind is
a group.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as DriverPartition
from aiokafka.errors import KafkaError

from services.common.bus.administration.admin import admin, committed_offsets, topics_for
from services.common.bus.coordinates import TopicPartition
from services.common.errors import BusUnavailableError
from services.common.kafka_address import connection_options, without_password
from services.common.requests.model_catalogue import ModelConfig


@dataclass(frozen=True, slots=True)
class TopicState:
    """What differs between the topics that are wanted and those that are there."""

    wanted: int
    missing: tuple[str, ...]
    too_few_partitions: tuple[str, ...]


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
    consumer = AIOKafkaConsumer(
        **connection_options(url), isolation_level="read_committed", enable_auto_commit=False
    )
    try:
        async with asyncio.timeout(timeout_s):
            await consumer.start()
            there = {
                topic: count for topic, count in (await partition_counts(url)).items() if topic in wanted
            }
            places = [DriverPartition(topic, one) for topic, count in there.items() for one in range(count)]
            consumer.assign(places)
            ends, begins = await consumer.end_offsets(places), await consumer.beginning_offsets(places)
            committed = await committed_offsets(url, group)
    except (TimeoutError, KafkaError, OSError) as error:
        raise BusUnavailableError(
            f"Kafka at {without_password(url)} does not tell how far {group} is: {error!r}"
        ) from error
    finally:
        await consumer.stop()
    behind = dict.fromkeys(there, 0)
    for place in places:
        known = committed.get(TopicPartition(*place))
        done = known.offset if known else begins[place]
        behind[place.topic] += max(0, ends[place] - done)
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
        places = {place for offsets in committed.values() for place in offsets}
        async with asyncio.timeout(timeout_s):
            ends = await _end_offsets(url, places) if places else {}
    except (TimeoutError, KafkaError, OSError) as error:
        raise BusUnavailableError(
            f"Kafka at {without_password(url)} does not tell how far its groups are: {error!r}"
        ) from error
    lags: dict[str, dict[str, int]] = {}
    for group, offsets in committed.items():
        behind = lags.setdefault(group, {})
        for place, done in offsets.items():
            if done.offset >= 0:
                behind[place.topic] = behind.get(place.topic, 0) + max(0, ends[place] - done.offset)
    return lags


async def _end_offsets(url: str, places: Iterable[DriverPartition]) -> dict[DriverPartition, int]:
    consumer = AIOKafkaConsumer(
        **connection_options(url), isolation_level="read_committed", enable_auto_commit=False
    )
    try:
        await consumer.start()
        ends: dict[DriverPartition, int] = await consumer.end_offsets(list(places))
        return ends
    finally:
        await consumer.stop()
