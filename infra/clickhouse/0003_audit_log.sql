-- Who did what. Each entry carries the hash of the one before it, so that a missing or altered entry shows.
CREATE TABLE IF NOT EXISTS audit_log
(
    occurred_at DateTime64(3) COMMENT 'When it was done, UTC.' CODEC(Delta, ZSTD(1)),
    tenant LowCardinality(String) COMMENT 'Whose data or settings; empty for the whole platform.',
    actor String COMMENT 'Who did it: a key, an operator, a service.' CODEC(ZSTD(1)),
    action LowCardinality(String) COMMENT 'What was done, as a verb and its object: key.created, table.exported.',
    target String COMMENT 'What it was done to.' CODEC(ZSTD(1)),
    details String COMMENT 'The rest, as JSON.' CODEC(ZSTD(3)),
    entry_id String COMMENT 'This entry''s id.' CODEC(ZSTD(1)),
    previous_hash String COMMENT 'The hash of the entry before it in its chain.' CODEC(ZSTD(1)),
    hash String COMMENT 'SHA-256 over the entry and the previous hash, in hexadecimal.' CODEC(ZSTD(1)),
    source LowCardinality(String) DEFAULT '' COMMENT 'The incarnation of the producer that sent it.',
    sequence Int64 DEFAULT -1 COMMENT 'The producer''s count of events on this topic, from 0.' CODEC(Delta, ZSTD(1)),
    topic LowCardinality(String) DEFAULT '' COMMENT 'Kafka topic.',
    partition UInt32 DEFAULT 0 COMMENT 'Kafka partition.',
    offset UInt64 DEFAULT 0 COMMENT 'Kafka offset.' CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3) DEFAULT now64(3) COMMENT 'When the store took it.' CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (toStartOfHour(occurred_at), tenant, action, occurred_at)
TTL toDateTime(occurred_at) + INTERVAL 1830 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'What administrators, operators and analysts did, as a hash chain.';
