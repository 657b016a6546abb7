"""What a topic is, how long topics keep, and what their dead letters are."""

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter

from schemas.events.dead_letters import DeadLettered

QUARTER_HOUR = timedelta(minutes=15)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WEEK = timedelta(days=7)
LONGER_THAN_SESSIONS = timedelta(days=8)
MONTH = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic, or with `{model}` and `{lane}` in its name a family of them.

    `partitions` is the count at full scale. `scaled` topics may have fewer on a small
    machine; the others need exactly this many for their order. `retention` None means
    compacted: the newest record of a key stays. `ledger` topics are counted by their
    producers and proven complete by `v_ledger`.
    """

    name: str
    model: TypeAdapter[Any]
    key: str
    partitions: int
    retention: timedelta | None
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    summary: str
    scaled: bool = False
    ledger: bool = False
    dead_letters: bool = False

    def partition_count(self, scale: float) -> int:
        """Partitions at a scale of 0 to 1, at least one.

        Raises:
            ValueError: the scale is not in (0, 1].
        """
        if not 0 < scale <= 1:
            raise ValueError(f"the partition scale is {scale}; it must be above 0 and at most 1")
        return max(1, math.ceil(self.partitions * scale)) if self.scaled else self.partitions

    @property
    def segment(self) -> timedelta | None:
        """How long a segment stays open.

        Kafka deletes whole closed segments, so a record lives at most `retention +
        segment`; a fifth keeps that true.
        """
        return (
            None
            if self.retention is None
            else max(timedelta(minutes=1), min(self.retention / 5, timedelta(days=1)))
        )


def dead_letter_topic(topic: Topic) -> Topic:
    """Where a consumer of `topic` sets aside what it cannot use."""
    return Topic(
        dead_letter_name(topic.name),
        TypeAdapter(DeadLettered),
        topic.key,
        topic.partitions,
        MONTH,
        topic.consumers,
        ("recorder",),
        f"What a consumer of {topic.name} could not use.",
        scaled=topic.scaled,
    )


def dead_letter_name(topic: str) -> str:
    """The dead-letter topic's name."""
    return f"{topic}.dlq"
