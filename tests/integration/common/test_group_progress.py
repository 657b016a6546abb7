"""How far a group has dealt with topics, on a real Kafka."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from schemas.topics import COMPLETED, FINDINGS
from services.common.bus import CommittedOffset, GroupConsumer, TopicPartition
from services.common.bus.administration.group_progress import GroupProgress
from tests.support.analyzer.recording import EventSource, provision_topics
from tests.support.kafka import Broker


@pytest.fixture
async def source(kafka: Broker) -> AsyncIterator[EventSource]:
    """Who sends in transactions: each leaves a marker after its records."""
    await provision_topics(kafka.bootstrap)
    made = EventSource(kafka.bootstrap)
    await made.start()
    yield made
    await made.close()


async def _behind(progress: GroupProgress) -> list[TopicPartition]:
    """Where records are left, once it has looked at what stands still: it stood so when it
    was read before.
    """
    before, reached = await progress.read(), await progress.read()
    async with asyncio.timeout(30):
        while reached != before:
            before, reached = reached, await progress.read()
    return [place for place, end in reached.ends.items() if reached.positions[place] < end]


async def test_markers_after_the_last_record_are_dealt_with_and_records_are_not(
    kafka: Broker, source: EventSource
) -> None:
    """A group that committed the offset after its last record has dealt with everything;
    one more record, and it has not.
    """
    group = f"progress-{uuid4().hex[:8]}"
    consumer = GroupConsumer(kafka.bootstrap, group, committed_only=True, group=group)

    async def nothing(_: set[TopicPartition]) -> None:
        return

    await consumer.start([COMPLETED.name], nothing, nothing)
    progress = GroupProgress(kafka.bootstrap, group, group, (COMPLETED.name, FINDINGS.name))
    try:
        await source.send(40, batch=5)
        read: dict[TopicPartition, CommittedOffset] = {}
        ends = {place: end for place, end in (await progress.read()).ends.items() if end}
        ends = {place: end for place, end in ends.items() if place.topic == COMPLETED.name}
        while not read or [place for place, end in ends.items() if await consumer.position(*place) < end]:
            for record in await consumer.poll(0.2):
                place = TopicPartition(record.topic, record.partition)
                read[place] = CommittedOffset(record.offset + 1, "")
        await consumer.commit(read)
        assert not [one for one in await _behind(progress) if one.topic == COMPLETED.name]
        await source.send(1)
        (place,) = [one for one in await _behind(progress) if one.topic == COMPLETED.name]
        await progress.close()
        assert place in await _behind(progress)
    finally:
        await progress.close()
        await consumer.close()
