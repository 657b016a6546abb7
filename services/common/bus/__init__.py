"""The one door to Kafka: producers, consumers, administration.

Nothing else imports the drivers.

`Producer` and `TransactionalProducer` write, `Tail` follows partitions without a group,
`GroupConsumer` shares a topic's partitions and commits by hand, `events.py` reads
events for keeps.
"""

from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import RecordMetadata as Acknowledged

from services.common.bus.consumer import GroupConsumer, Record, Start, Tail
from services.common.bus.parsing import MessageReader, Unknown, Unreadable, parse_known
from services.common.bus.producer import FencedError, Outgoing, Producer, TransactionalProducer

__all__ = [
    "Acknowledged",
    "FencedError",
    "GroupConsumer",
    "MessageReader",
    "OffsetAndMetadata",
    "Outgoing",
    "Producer",
    "Record",
    "Start",
    "Tail",
    "TopicPartition",
    "TransactionalProducer",
    "Unknown",
    "Unreadable",
    "parse_known",
]
