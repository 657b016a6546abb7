"""Kafka records without a Kafka."""

from collections.abc import Sequence

from aiokafka import ConsumerRecord

from services.common.bus import Record


def record(
    value: bytes | None,
    *,
    key: bytes = b"r",
    offset: int = 0,
    topic: str = "t",
    partition: int = 0,
    timestamp_ms: int = 0,
    headers: Sequence[tuple[str, bytes]] = (),
    timestamp_type: int = 1,
) -> Record:
    """A record as a consumer hands it out."""
    return ConsumerRecord(
        topic,
        partition,
        offset,
        timestamp_ms,
        timestamp_type,
        key,
        value,
        None,
        len(key),
        len(value or b""),
        tuple(headers),
    )
