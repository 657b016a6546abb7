"""<topic>.dlq: what consumers set aside, of every topic in one table."""

from pydantic import TypeAdapter

from schemas.events.dead_letters import DeadLettered
from services.analyzer.recorder.rows import TIME, WORD, Column, Recording, log_columns

DEAD_LETTERED: Recording[DeadLettered] = Recording(
    "dead_letters",
    TypeAdapter(DeadLettered),
    (
        Column("failed_at", TIME, lambda event: event.message.failed_at),
        Column("consumer", WORD, lambda event: event.message.consumer),
        Column("origin_topic", WORD, lambda event: event.message.topic),
        Column("origin_partition", "UInt32", lambda event: event.message.partition),
        Column("origin_offset", "UInt64", lambda event: event.message.offset),
        Column("origin_source", WORD, lambda event: event.message.source),
        Column("origin_sequence", "Int64", lambda event: event.message.sequence),
        Column("attempts", "UInt16", lambda event: event.message.attempts),
        Column("error_type", WORD, lambda event: event.message.error_type),
        Column("error", "String", lambda event: event.message.error),
        Column("key", "Nullable(String)", lambda event: event.message.key),
        Column("value", "String", lambda event: event.message.value),
        Column("headers", "Array(Tuple(String, String))", lambda event: event.message.headers),
        Column("tenant", WORD, lambda event: event.envelope.tenant),
        *log_columns(),
    ),
)
