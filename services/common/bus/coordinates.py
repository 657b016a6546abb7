"""Places in the log: partitions, offsets, records. The driver's own types stay behind
this package's door.

`LogPosition` is the same as a message carries it (`schemas.inference`).
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Protocol

from schemas.inference import LogPosition

__all__ = [
    "Acknowledged",
    "CommittedOffset",
    "Located",
    "LogPosition",
    "Record",
    "TopicPartition",
    "is_appended_after",
    "not_later",
    "partition_of",
    "position_of",
]


class TopicPartition(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class CommittedOffset(NamedTuple):
    """The next offset of a partition as its group committed it, with the note beside
    it.
    """

    offset: int
    note: str = ""


class Located(Protocol):
    """Whatever lies in the log at a known offset."""

    @property
    def topic(self) -> str:
        """The topic."""

    @property
    def partition(self) -> int:
        """The partition's number."""

    @property
    def offset(self) -> int:
        """The offset."""


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
APPENDED = 1
"""A timestamp's type: the broker's clock, not the writer's."""


class Acknowledged(Located, Protocol):
    """Where a record came to lie, and when."""

    @property
    def timestamp(self) -> int:
        """When it was made or appended, in Unix milliseconds."""

    @property
    def timestamp_type(self) -> int:
        """Which of the two: 0 made, by its producer's clock; 1 appended, by the broker's."""


class Record(Acknowledged, Protocol):
    """A record as it was read."""

    @property
    def key(self) -> Any:
        """The key's bytes, or None."""

    @property
    def value(self) -> Any:
        """The value's bytes, or None."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """The headers in order; a name may come twice."""


def is_appended_after(done: Acknowledged, by: datetime | None) -> bool:
    """Whether a broker appended a record later than `by`; not known, false, where the
    times are its producers'.
    """
    return by is not None and done.timestamp_type == APPENDED and done.timestamp > by.timestamp() * 1000


def not_later(at: datetime, than: Acknowledged) -> datetime:
    """A time, but not a later one than that at which the broker appended the record that
    tells it: somebody's clock may be wrong by years. One without a time zone stays.
    """
    if than.timestamp_type != APPENDED or at.tzinfo is None:
        return at
    return min(at, _EPOCH + timedelta(milliseconds=than.timestamp))


def position_of(located: Located) -> LogPosition:
    """Where a record lies."""
    return LogPosition(topic=located.topic, partition=located.partition, offset=located.offset)


def partition_of(located: Located) -> TopicPartition:
    """The partition that a record lies in."""
    return TopicPartition(located.topic, located.partition)
