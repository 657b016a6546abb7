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
) -> Record:
    """A record as a consumer hands it out."""
    return ConsumerRecord(
        topic,
        partition,
        offset,
        timestamp_ms,
        1,
        key,
        value,
        None,
        len(key),
        len(value or b""),
        tuple(headers),
    )
