"""The one door to Kafka: producers, consumers, administration.

Nothing else imports the drivers.

`producers/`: `Producer`, `CountingProducer` and `TransactionalProducer` write.
`consumers/`: `Tail` follows partitions without a group, `GroupConsumer` shares a topic's
partitions and commits by hand, `events.py` reads events for keeps. `subscriber/`:
consumers of events on FastStream. `dead_letters/`: what could not be used.
`administration/`: topics and lag. `coordinates.py` says where in the log.
"""

from services.common.bus.consumers.consumer import GroupConsumer, Start, Tail
from services.common.bus.consumers.parsing import MessageReader, Unknown, Unreadable, parse_known
from services.common.bus.consumers.read_progress import ReadProgress
from services.common.bus.coordinates import (
    APPENDED,
    Acknowledged,
    CommittedOffset,
    LogPosition,
    Record,
    TopicPartition,
    is_appended_after,
    not_later,
    position_of,
)
from services.common.bus.producers.producer import FencedError, Outgoing, Producer, TransactionalProducer

__all__ = [
    "APPENDED",
    "Acknowledged",
    "CommittedOffset",
    "FencedError",
    "GroupConsumer",
    "LogPosition",
    "MessageReader",
    "Outgoing",
    "Producer",
    "ReadProgress",
    "Record",
    "Start",
    "Tail",
    "TopicPartition",
    "TransactionalProducer",
    "Unknown",
    "Unreadable",
    "is_appended_after",
    "not_later",
    "parse_known",
    "position_of",
]
