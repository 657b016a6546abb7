-- What is done about findings: alerts, and models that are trained again. Recorded from alerts.raised.v1 and retraining.{requests,results}.v1.
CREATE TABLE IF NOT EXISTS alert_changes
(
    changed_at DateTime64(3, 'UTC') COMMENT 'When the alert came into this state.' CODEC(Delta, ZSTD(1)),
    started_at DateTime64(3, 'UTC') COMMENT 'When the alert began.' CODEC(Delta, ZSTD(1)),
    ended_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When it was resolved; NULL before.' CODEC(ZSTD(1)),
    tenant LowCardinality(String) COMMENT 'Whose; empty for the whole platform.',
    rule LowCardinality(String) COMMENT 'The rule that raised it.',
    severity LowCardinality(String) COMMENT 'info, warning or critical.',
    state LowCardinality(String) COMMENT 'pending, firing, acknowledged, silenced or resolved.',
    alert_id String COMMENT 'One episode, from pending to resolved.' CODEC(ZSTD(1)),
    fingerprint String COMMENT 'The same for all episodes of the same labels.' CODEC(ZSTD(1)),
    title String COMMENT 'What happened, in a few words.' CODEC(ZSTD(1)),
    summary String COMMENT 'What happened, masked.' CODEC(ZSTD(1)),
    labels Map(String, String) COMMENT 'What it is routed and grouped by.' CODEC(ZSTD(1)),
    annotations Map(String, String) COMMENT 'Further text for people, masked.' CODEC(ZSTD(1)),
    value Nullable(Float64) COMMENT 'The figure, where there is one.' CODEC(ZSTD(1)),
    threshold Nullable(Float64) COMMENT 'Its line, where there is one.' CODEC(ZSTD(1)),
    changed_by String COMMENT 'Who acknowledged, silenced or resolved it; empty where nobody did.' CODEC(ZSTD(1)),
    event_ids Array(String) COMMENT 'The events that caused it.' CODEC(ZSTD(1)),
    runbook_url String COMMENT 'What to do.' CODEC(ZSTD(1)),
    event_id String COMMENT 'CloudEvents id.' CODEC(ZSTD(1)),
    source LowCardinality(String) COMMENT 'The incarnation of the producer that sent it.',
    sequence Int64 COMMENT 'The producer''s count of events on this topic, from 0; -1 where it does not count.' CODEC(Delta, ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Kafka topic.',
    partition UInt32 COMMENT 'Kafka partition.' CODEC(T64, ZSTD(1)),
    offset UInt64 COMMENT 'Kafka offset.' CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the store took it.' CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (toStartOfHour(changed_at), tenant, rule, changed_at)
TTL toDateTime(changed_at, 'UTC') + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'One row for each change of an alert''s state.';

CREATE TABLE IF NOT EXISTS retraining_requests
(
    requested_at DateTime64(3, 'UTC') COMMENT 'When it was asked for.' CODEC(Delta, ZSTD(1)),
    model LowCardinality(String) COMMENT 'Which model.',
    tenant LowCardinality(String) COMMENT 'Whose data it is trained on; empty for all.',
    retraining_id String COMMENT 'This retraining''s id.' CODEC(ZSTD(1)),
    requested_by LowCardinality(String) COMMENT 'A service or an operator.',
    reasons Array(LowCardinality(String)) COMMENT 'drift, low_satisfaction, new_data, model_age or asked.',
    explanation Array(String) COMMENT 'A sentence for each reason.' CODEC(ZSTD(1)),
    drift_report_id String COMMENT 'The report that it follows from; empty where none.' CODEC(ZSTD(1)),
    examples UInt64 COMMENT 'Examples to train on.' CODEC(T64, ZSTD(1)),
    budget_usd Nullable(Decimal(18, 12)) COMMENT 'What it may cost; NULL where nothing was said.' CODEC(ZSTD(1)),
    event_id String COMMENT 'CloudEvents id.' CODEC(ZSTD(1)),
    source LowCardinality(String) COMMENT 'The incarnation of the producer that sent it.',
    sequence Int64 COMMENT 'The producer''s count of events on this topic, from 0; -1 where it does not count.' CODEC(Delta, ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Kafka topic.',
    partition UInt32 COMMENT 'Kafka partition.' CODEC(T64, ZSTD(1)),
    offset UInt64 COMMENT 'Kafka offset.' CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the store took it.' CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (toStartOfHour(requested_at), model, requested_at)
TTL toDateTime(requested_at, 'UTC') + INTERVAL 1830 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'One row for each model that shall be trained again.';

CREATE TABLE IF NOT EXISTS retraining_results
(
    reported_at DateTime64(3, 'UTC') COMMENT 'When it came so far.' CODEC(Delta, ZSTD(1)),
    model LowCardinality(String) COMMENT 'Which model.',
    tenant LowCardinality(String) COMMENT 'Whose data it is trained on; empty for all.',
    retraining_id String COMMENT 'The retraining''s id.' CODEC(ZSTD(1)),
    status LowCardinality(String) COMMENT 'started, succeeded, rejected (not better), failed or rolled_back.',
    base_version LowCardinality(String) COMMENT 'The version that was trained again.',
    new_version LowCardinality(String) COMMENT 'The version that came of it; empty where none did.',
    examples UInt64 COMMENT 'Examples that it was trained on.' CODEC(T64, ZSTD(1)),
    metrics_before Map(String, Float64) COMMENT 'Measured on held-out examples, before.' CODEC(ZSTD(1)),
    metrics_after Map(String, Float64) COMMENT 'Measured on the same examples, after.' CODEC(ZSTD(1)),
    cost_usd Decimal(18, 12) COMMENT 'What it cost so far, in US dollars.' CODEC(ZSTD(1)),
    duration_s Nullable(Float64) COMMENT 'How long it took, seconds.' CODEC(ZSTD(1)),
    error String COMMENT 'What went wrong; empty where nothing did.' CODEC(ZSTD(1)),
    event_id String COMMENT 'CloudEvents id.' CODEC(ZSTD(1)),
    source LowCardinality(String) COMMENT 'The incarnation of the producer that sent it.',
    sequence Int64 COMMENT 'The producer''s count of events on this topic, from 0; -1 where it does not count.' CODEC(Delta, ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Kafka topic.',
    partition UInt32 COMMENT 'Kafka partition.' CODEC(T64, ZSTD(1)),
    offset UInt64 COMMENT 'Kafka offset.' CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the store took it.' CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (toStartOfHour(reported_at), model, reported_at)
TTL toDateTime(reported_at, 'UTC') + INTERVAL 1830 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'One row for each step of a retraining.';
