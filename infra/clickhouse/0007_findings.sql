-- What analysis found: attacks and leaks, figures beyond their thresholds, changes of traffic. Each table is recorded from the topic of its name.
CREATE TABLE IF NOT EXISTS security_findings
(
    found_at DateTime64(3, 'UTC') COMMENT 'When it was found.' CODEC(Delta, ZSTD(1)),
    tenant LowCardinality(String) COMMENT 'Whose request it was.',
    user String COMMENT 'A pseudonym; empty where the client named no user.' CODEC(ZSTD(1)),
    key_id LowCardinality(String) COMMENT 'The API key, by its public part.',
    request_id String COMMENT 'The x-request-id; empty for findings about a user''s behaviour.' CODEC(ZSTD(1)),
    model LowCardinality(String) COMMENT 'The model that was asked.',
    finding_id String COMMENT 'This finding''s id.' CODEC(ZSTD(1)),
    place LowCardinality(String) COMMENT 'prompt, response or behaviour.',
    depth LowCardinality(String) COMMENT 'inline (before serving) or full (afterwards).',
    category LowCardinality(String) COMMENT 'Kind of attack or leak.',
    level LowCardinality(String) COMMENT 'none, low, medium, high or critical.',
    score Float64 COMMENT 'Points; levels begin at 3, 7, 12 and 20 by default.' CODEC(ZSTD(1)),
    probability Nullable(Float64) COMMENT 'Calibrated chance of an attack, 0 to 1; NULL where no model was asked.' CODEC(ZSTD(1)),
    action LowCardinality(String) COMMENT 'allowed, flagged, masked or blocked.',
    rule_names Array(LowCardinality(String)) COMMENT 'The rules that matched, strongest first.',
    rules String COMMENT 'The rules that matched with category, weight and span, as JSON.' CODEC(ZSTD(1)),
    detector_version LowCardinality(String) COMMENT 'Version of the model that judged.',
    rules_version LowCardinality(String) COMMENT 'Version of the rules.',
    explanation Array(String) COMMENT 'Why, a sentence each.' CODEC(ZSTD(1)),
    masked_text Nullable(String) COMMENT 'The text without personal data and secrets.' CODEC(ZSTD(1)),
    neighbours String COMMENT 'Known texts and earlier requests that are like it, as JSON.' CODEC(ZSTD(1)),
    event_id String COMMENT 'CloudEvents id.' CODEC(ZSTD(1)),
    source LowCardinality(String) COMMENT 'The incarnation of the producer that sent it.',
    sequence Int64 COMMENT 'The producer''s count of events on this topic, from 0; -1 where it does not count.' CODEC(Delta, ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Kafka topic.',
    partition UInt32 COMMENT 'Kafka partition.' CODEC(T64, ZSTD(1)),
    offset UInt64 COMMENT 'Kafka offset.' CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the store took it.' CODEC(Delta, ZSTD(1)),
    INDEX by_request request_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_user user TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = MergeTree
ORDER BY (toStartOfHour(found_at), tenant, category, found_at)
TTL toDateTime(found_at, 'UTC') + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'One row for each finding of the security analysis.';

CREATE TABLE IF NOT EXISTS kpi_breaches
(
    detected_at DateTime64(3, 'UTC') COMMENT 'When it was noticed.' CODEC(Delta, ZSTD(1)),
    window_start DateTime64(3, 'UTC') COMMENT 'Start of the window of event time.' CODEC(Delta, ZSTD(1)),
    window_end DateTime64(3, 'UTC') COMMENT 'End of the window of event time.' CODEC(Delta, ZSTD(1)),
    breach_id String COMMENT 'The same for a breach and its recovery.' CODEC(ZSTD(1)),
    state LowCardinality(String) COMMENT 'breached or recovered.',
    metric LowCardinality(String) COMMENT 'The figure, with its unit: latency_p95_s, error_rate.',
    value Float64 COMMENT 'What it was over the window.' CODEC(ZSTD(1)),
    threshold Float64 COMMENT 'The line that it crossed.' CODEC(ZSTD(1)),
    direction LowCardinality(String) COMMENT 'above or below: on which side of the line a value is bad.',
    severity LowCardinality(String) COMMENT 'info, warning or critical.',
    tenant LowCardinality(String) COMMENT 'Of whom; empty for all.',
    model LowCardinality(String) COMMENT 'Of which model; empty for all.',
    user String COMMENT 'Of which user, a pseudonym; empty for all.' CODEC(ZSTD(1)),
    samples UInt64 COMMENT 'How many events the value rests on.' CODEC(T64, ZSTD(1)),
    baseline Nullable(Float64) COMMENT 'What is usual; NULL where unknown.' CODEC(ZSTD(1)),
    examples Array(String) COMMENT 'Request ids that show it.' CODEC(ZSTD(1)),
    summary String COMMENT 'One sentence for people.' CODEC(ZSTD(1)),
    event_id String COMMENT 'CloudEvents id.' CODEC(ZSTD(1)),
    source LowCardinality(String) COMMENT 'The incarnation of the producer that sent it.',
    sequence Int64 COMMENT 'The producer''s count of events on this topic, from 0; -1 where it does not count.' CODEC(Delta, ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Kafka topic.',
    partition UInt32 COMMENT 'Kafka partition.' CODEC(T64, ZSTD(1)),
    offset UInt64 COMMENT 'Kafka offset.' CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the store took it.' CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (toStartOfHour(detected_at), metric, tenant, detected_at)
TTL toDateTime(detected_at, 'UTC') + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'One row for each threshold that was crossed, and for each recovery.';

CREATE TABLE IF NOT EXISTS drift_reports
(
    reported_at DateTime64(3, 'UTC') COMMENT 'When the comparison was made.' CODEC(Delta, ZSTD(1)),
    model LowCardinality(String) COMMENT 'Whose traffic.',
    tenant LowCardinality(String) COMMENT 'Whose traffic; empty for all.',
    report_id String COMMENT 'This report''s id.' CODEC(ZSTD(1)),
    window_start DateTime64(3, 'UTC') COMMENT 'Start of the window.' CODEC(Delta, ZSTD(1)),
    window_end DateTime64(3, 'UTC') COMMENT 'End of the window.' CODEC(Delta, ZSTD(1)),
    window_requests UInt64 COMMENT 'Requests in the window.' CODEC(T64, ZSTD(1)),
    baseline_start DateTime64(3, 'UTC') COMMENT 'Start of the baseline.' CODEC(Delta, ZSTD(1)),
    baseline_end DateTime64(3, 'UTC') COMMENT 'End of the baseline.' CODEC(Delta, ZSTD(1)),
    baseline_requests UInt64 COMMENT 'Requests in the baseline.' CODEC(T64, ZSTD(1)),
    drifted Bool COMMENT 'Whether any test is significant at alpha.',
    severity LowCardinality(String) COMMENT 'none, low, medium, high or critical, by size of the change.',
    alpha Float64 COMMENT 'Error rate of all tests together.' CODEC(ZSTD(1)),
    significant_tests Array(LowCardinality(String)) COMMENT 'Tests whose adjusted p-value is at most alpha.',
    readings String COMMENT 'Each test''s p-value, adjusted p-value, effect and severity, as JSON.' CODEC(ZSTD(1)),
    skipped Map(String, String) COMMENT 'Tests that could not be run, with why.' CODEC(ZSTD(1)),
    drivers String COMMENT 'Segments with their contribution to the change, as JSON.' CODEC(ZSTD(1)),
    examples Array(String) COMMENT 'Ids of the requests that are most typical of the change.' CODEC(ZSTD(1)),
    explanation Array(String) COMMENT 'What changed, a sentence each.' CODEC(ZSTD(1)),
    event_id String COMMENT 'CloudEvents id.' CODEC(ZSTD(1)),
    source LowCardinality(String) COMMENT 'The incarnation of the producer that sent it.',
    sequence Int64 COMMENT 'The producer''s count of events on this topic, from 0; -1 where it does not count.' CODEC(Delta, ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Kafka topic.',
    partition UInt32 COMMENT 'Kafka partition.' CODEC(T64, ZSTD(1)),
    offset UInt64 COMMENT 'Kafka offset.' CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the store took it.' CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (toStartOfHour(reported_at), model, tenant, reported_at)
TTL toDateTime(reported_at, 'UTC') + INTERVAL 1830 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'One row for each comparison of traffic with its baseline.';
