-- The log of ends: one row for each inference.completed event, written only by the recorder.
--
-- Exactness (docs/adr/0002-recorder-raw-consumer.md): a row carries its place in the log (topic, partition, offset) and its producer's count (source, sequence);
-- blocks are inserted with a deduplication token, so a block that is sent again changes neither this table nor the rollups. For that
--   * the deduplication window must be the same here and on every target of a materialized view of this table;
--   * there is no PARTITION BY: a block would become several parts, which are not written atomically.
CREATE TABLE IF NOT EXISTS inference_events
(
    completed_at DateTime64(3) COMMENT 'When the request ended, UTC.' CODEC(Delta, ZSTD(1)),
    requested_at DateTime64(3) COMMENT 'When the gateway took the request, UTC.' CODEC(Delta, ZSTD(1)),
    tenant LowCardinality(String) COMMENT 'Who is billed.',
    model LowCardinality(String) COMMENT 'The model that answered.',
    request_id String COMMENT 'The x-request-id that the client saw.' CODEC(ZSTD(1)),
    key_id LowCardinality(String) COMMENT 'The API key, by its public part.',
    user String COMMENT 'A pseudonym; empty where the client named no user.' CODEC(ZSTD(1)),
    kind LowCardinality(String) COMMENT 'chat or completion.',
    lane LowCardinality(String) COMMENT 'interactive or batch.',
    stream Bool COMMENT 'Whether the answer was streamed.',
    outcome LowCardinality(String) COMMENT 'completed, cancelled, expired, failed, blocked or cache_hit.',
    finish_reasons Array(LowCardinality(String)) COMMENT 'One for each choice.',
    error_code LowCardinality(String) COMMENT 'Empty where nothing failed.',
    attempts UInt16 COMMENT 'Replicas that worked on it; more than 1 after a failover.',
    replica_id LowCardinality(String) COMMENT 'The replica that ended it.',
    prompt_tokens UInt32 COMMENT 'Tokens of the prompt.' CODEC(T64, ZSTD(1)),
    completion_tokens UInt32 COMMENT 'Tokens generated, over all choices and attempts.' CODEC(T64, ZSTD(1)),
    cost_usd Decimal(18, 12) COMMENT 'Price of this request in US dollars.' CODEC(ZSTD(1)),
    duration_ms Float64 COMMENT 'From the gateway taking it to its end, milliseconds.' CODEC(ZSTD(1)),
    queue_ms Nullable(Float64) COMMENT 'Time in the queue, milliseconds.' CODEC(ZSTD(1)),
    ttft_ms Nullable(Float64) COMMENT 'Time to first token, milliseconds.' CODEC(ZSTD(1)),
    tokens_per_s Nullable(Float64) COMMENT 'Generation rate.' CODEC(ZSTD(1)),
    mean_logprob Nullable(Float64) COMMENT 'Mean log-probability of the generated tokens; the confidence.' CODEC(ZSTD(1)),
    prompt_chars UInt32 COMMENT 'Length of the prompt in characters.' CODEC(T64, ZSTD(1)),
    response_chars UInt32 COMMENT 'Length of the answer in characters.' CODEC(T64, ZSTD(1)),
    prompt_text Nullable(String) COMMENT 'NULL unless the operator stores text.' CODEC(ZSTD(3)),
    response_text Nullable(String) COMMENT 'NULL unless the operator stores text.' CODEC(ZSTD(3)),
    event_id String COMMENT 'CloudEvents id.' CODEC(ZSTD(1)),
    occurred_at DateTime64(3) COMMENT 'CloudEvents time, UTC.' CODEC(Delta, ZSTD(1)),
    traceparent String COMMENT 'W3C trace context; empty where there was none.' CODEC(ZSTD(1)),
    source LowCardinality(String) COMMENT 'The incarnation of the producer that sent it.',
    sequence Int64 COMMENT 'The producer''s count of events on this topic, from 0; -1 where it does not count.' CODEC(Delta, ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Kafka topic.',
    partition UInt32 COMMENT 'Kafka partition.' CODEC(T64, ZSTD(1)),
    offset UInt64 COMMENT 'Kafka offset.' CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3) DEFAULT now64(3) COMMENT 'When the store took it.' CODEC(Delta, ZSTD(1)),
    INDEX by_request request_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_offset offset TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
ORDER BY (toStartOfHour(completed_at), tenant, model, completed_at)
TTL toDateTime(completed_at) + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'One row for each request that ended: the source of every figure.';
