"""The one door to Kafka: producers, consumers, administration.

Nothing else imports the drivers.

`Producer`, `CountingProducer` (`counting.py`) and `TransactionalProducer` write, `Tail`
follows partitions without a group, `GroupConsumer` shares a topic's partitions and
commits by hand, `events.py` reads events for keeps; `coordinates.py` says where in the
log.
"""

from services.common.bus.consumer import GroupConsumer, Start, Tail
from services.common.bus.coordinates import (
    APPENDED,
    Acknowledged,
    CommittedOffset,
    LogPosition,
    Record,
    TopicPartition,
    position_of,
)
from services.common.bus.parsing import MessageReader, Unknown, Unreadable, parse_known
from services.common.bus.producer import FencedError, Outgoing, Producer, TransactionalProducer
from services.common.bus.read_progress import ReadProgress

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
    "parse_known",
    "position_of",
]
