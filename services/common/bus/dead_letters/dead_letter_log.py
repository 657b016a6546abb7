"""Reading dead letters, and sending them again to where they came from: the work of
`tocsin dlq`.

Sending again keeps key, value, headers and partition, so the ledger recognises the
event by its producer's count. What was sent again is remembered by a consumer group, so
that a second call goes on after it.
"""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata
from pydantic import ValidationError

from schemas.events.dead_letters import DeadLettered
from schemas.limits import MARGIN_BYTES, MAX_RECORD_BYTES
from schemas.topics import TOPICS, dead_letter_name
from services.common.bus.administration.inspection import partition_counts
from services.common.bus.log_rate_limit import limit_log_rate
from services.common.errors import BusUnavailableError, ConfigError
from services.common.process.kafka_address import connection_options, without_password

_GROUP = "tocsin-dlq"
_CONNECT_S = 15.0
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did. `unreadable` dead letters were passed over, as were those that
    hold only a part of their record.
    """

    sent: int
    unreadable: int


def dead_letter_topics() -> list[str]:
    """The topics whose consumers set messages aside."""
    return [topic.name for topic in TOPICS if topic.dead_letters]


async def list_dead_letters(url: str, topic: str, *, include_replayed: bool = False) -> list[DeadLettered]:
    """The dead letters of a topic, oldest first in each partition; those that were sent
    again only if asked for.

    Raises:
        BusUnavailableError: no broker.
        ConfigError: the topic has no dead letters.
    """
    found: list[DeadLettered] = []
    async with _reader(url, topic) as reader:
        if include_replayed:
            await reader.seek_to_beginning()
        async for _, letters in _batches(reader):
            found += [letter for letter in letters if letter is not None]
    return found


async def replay_dead_letters(url: str, topic: str, *, limit: int | None = None) -> Replayed:
    """Sends the dead letters of a topic again that were not yet, at most `limit`.

    What is sent twice by a crash is shown by the ledger as doubled.

    Raises:
        BusUnavailableError: no broker; what was sent so far is remembered.
        ConfigError: the topic has no dead letters.
    """
    sent = unreadable = 0
    async with _reader(url, topic) as reader, _writer(url) as writer:
        async for records, letters in _batches(reader):
            for record, letter in zip(records, letters, strict=True):
                if limit is not None and sent >= limit:
                    return Replayed(sent, unreadable)
                if letter is None or letter.value_sha256 is not None:
                    unreadable += 1
                else:
                    await _send(writer, letter)
                    sent += 1
                await reader.commit(
                    {TopicPartition(record.topic, record.partition): OffsetAndMetadata(record.offset + 1, "")}
                )
    return Replayed(sent, unreadable)


@contextlib.asynccontextmanager
async def _reader(url: str, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of all partitions, after what was sent again; it does not join the
    group.
    """
    if topic not in dead_letter_topics():
        raise ConfigError(f"{topic} has no dead letters; these have: {', '.join(dead_letter_topics())}")
    limit_log_rate()
    reader = AIOKafkaConsumer(
        **connection_options(url), group_id=_GROUP, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        async with asyncio.timeout(_CONNECT_S):
            await reader.start()
            partitions = (await partition_counts(url)).get(dead_letter_name(topic), 0)
        reader.assign([TopicPartition(dead_letter_name(topic), one) for one in range(partitions)])
        yield reader
    except (TimeoutError, KafkaError, OSError) as error:
        raise BusUnavailableError(
            f"the dead letters of {topic} cannot be read from Kafka at {without_password(url)}: {error!r}"
        ) from error
    finally:
        await reader.stop()


@contextlib.asynccontextmanager
async def _writer(url: str) -> AsyncIterator[AIOKafkaProducer]:
    writer = AIOKafkaProducer(
        **connection_options(url),
        acks="all",
        enable_idempotence=True,
        max_request_size=MAX_RECORD_BYTES + MARGIN_BYTES,
    )
    try:
        async with asyncio.timeout(_CONNECT_S):
            await writer.start()
        yield writer
    finally:
        await writer.stop()


async def _batches(
    reader: AIOKafkaConsumer,
) -> AsyncIterator[tuple[list[ConsumerRecord], list[DeadLettered | None]]]:
    """What lies between the reader's positions and the ends as they are now; letters
    that cannot be read are None.
    """
    ends = await reader.end_offsets(list(reader.assignment()))
    while await _behind(reader, ends):
        found = await reader.getmany(timeout_ms=1000, max_records=_BATCH)
        records = [
            record
            for batch in found.values()
            for record in batch
            if record.offset < ends[TopicPartition(record.topic, record.partition)]
        ]
        yield records, [_parsed(record.value) for record in records]


async def _behind(reader: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> bool:
    return any([await reader.position(place) < end for place, end in ends.items()])


def _parsed(value: bytes | None) -> DeadLettered | None:
    try:
        return DeadLettered.model_validate_json(value or b"")
    except ValidationError:
        return None


async def _send(writer: AIOKafkaProducer, letter: DeadLettered) -> None:
    headers = [(name, base64.b64decode(value)) for name, value in letter.headers]
    key = letter.key.encode() if letter.key is not None else None
    await writer.send_and_wait(
        letter.topic, base64.b64decode(letter.value), key=key, partition=letter.partition, headers=headers
    )
