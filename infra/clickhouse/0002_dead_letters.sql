-- What consumers set aside, recorded from the <topic>.dlq topics. A crash may make a consumer set the same event aside twice: v_dead_letters shows it once.
CREATE TABLE IF NOT EXISTS dead_letters
(
    failed_at DateTime64(3) COMMENT 'When it was set aside, UTC.' CODEC(Delta, ZSTD(1)),
    consumer LowCardinality(String) COMMENT 'Who could not use it.',
    origin_topic LowCardinality(String) COMMENT 'Where it was.',
    origin_partition UInt32 COMMENT 'Where it was.',
    origin_offset UInt64 COMMENT 'Where it was.' CODEC(Delta, ZSTD(1)),
    origin_source LowCardinality(String) COMMENT 'Its producer''s incarnation; empty where its envelope cannot be read.',
    origin_sequence Int64 COMMENT 'Its producer''s count; -1 where its envelope cannot be read.',
    attempts UInt16 COMMENT 'How often it was tried.',
    error_type LowCardinality(String) COMMENT 'What went wrong, in one word.',
    error String COMMENT 'What went wrong.' CODEC(ZSTD(3)),
    key Nullable(String) COMMENT 'The record''s key.' CODEC(ZSTD(1)),
    value String COMMENT 'The record''s value, base64.' CODEC(ZSTD(3)),
    headers Array(Tuple(String, String)) COMMENT 'The record''s headers, their values base64.' CODEC(ZSTD(3)),
    tenant LowCardinality(String) COMMENT 'Whose it was; empty where unknown.',
    event_id String COMMENT 'CloudEvents id of the dead letter itself.' CODEC(ZSTD(1)),
    source LowCardinality(String) COMMENT 'The incarnation of the consumer that set it aside.',
    sequence Int64 COMMENT 'That consumer''s count, -1 where it does not count.' CODEC(Delta, ZSTD(1)),
    topic LowCardinality(String) COMMENT 'The dead-letter topic.',
    partition UInt32 COMMENT 'Partition of the dead-letter topic.',
    offset UInt64 COMMENT 'Offset in the dead-letter topic.' CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3) DEFAULT now64(3) COMMENT 'When the store took it.' CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (toStartOfHour(failed_at), origin_topic, consumer, failed_at)
TTL toDateTime(failed_at) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Events that a consumer could not use, whole, with why. `tocsin dlq` sends them again.';
