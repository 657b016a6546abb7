-- Ratings of answers, recorded from feedback.submitted.v1. A rating may be given again: v_feedback shows the newest of a user for a request.
CREATE TABLE IF NOT EXISTS feedback
(
    submitted_at DateTime64(3, 'UTC') COMMENT 'When it was given.' CODEC(Delta, ZSTD(1)),
    requested_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the rated request was taken; NULL where unknown.' CODEC(ZSTD(1)),
    tenant LowCardinality(String) COMMENT 'Whose request it was.',
    model LowCardinality(String) COMMENT 'The model that answered; empty where unknown.',
    request_id String COMMENT 'The x-request-id of the rated answer.' CODEC(ZSTD(1)),
    feedback_id String COMMENT 'This rating''s id.' CODEC(ZSTD(1)),
    key_id LowCardinality(String) COMMENT 'The API key it was given with, by its public part.',
    user String COMMENT 'A pseudonym; empty where the client named no user.' CODEC(ZSTD(1)),
    rating Int8 COMMENT '1 good, -1 bad.',
    comment Nullable(String) COMMENT 'What the user wrote.' CODEC(ZSTD(3)),
    correction Nullable(String) COMMENT 'What the answer should have been.' CODEC(ZSTD(3)),
    event_id String COMMENT 'CloudEvents id.' CODEC(ZSTD(1)),
    source LowCardinality(String) COMMENT 'The incarnation of the producer that sent it.',
    sequence Int64 COMMENT 'The producer''s count of events on this topic, from 0; -1 where it does not count.' CODEC(Delta, ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Kafka topic.',
    partition UInt32 COMMENT 'Kafka partition.' CODEC(T64, ZSTD(1)),
    offset UInt64 COMMENT 'Kafka offset.' CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the store took it.' CODEC(Delta, ZSTD(1)),
    INDEX by_request request_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = MergeTree
ORDER BY (toStartOfHour(submitted_at), tenant, model, submitted_at)
TTL toDateTime(submitted_at, 'UTC') + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'One row for each rating of an answer.';
