-- What people say of findings, recorded from security.feedback.v1. It may be said again: v_finding_feedback shows the newest for a finding.
CREATE TABLE IF NOT EXISTS finding_feedback
(
    given_at DateTime64(3, 'UTC') COMMENT 'When it was said.' CODEC(Delta, ZSTD(1)),
    tenant LowCardinality(String) COMMENT 'Whose finding it is.',
    finding_id String COMMENT 'The finding.' CODEC(ZSTD(1)),
    feedback_id String COMMENT 'This statement''s id.' CODEC(ZSTD(1)),
    verdict LowCardinality(String) COMMENT 'true_alarm or false_alarm.',
    given_by_kind LowCardinality(String) COMMENT 'key, user or operator.',
    given_by String COMMENT 'Who: a key''s public part, a user''s pseudonym, an operator''s name.' CODEC(ZSTD(1)),
    category LowCardinality(String) COMMENT 'The finding''s.',
    level LowCardinality(String) COMMENT 'The finding''s.',
    place LowCardinality(String) COMMENT 'The finding''s: prompt, response or behaviour.',
    score Float64 COMMENT 'The finding''s, in points.' CODEC(ZSTD(1)),
    detector_version LowCardinality(String) COMMENT 'Version of the model that judged.',
    rules_version LowCardinality(String) COMMENT 'Version of the rules.',
    event_id String COMMENT 'CloudEvents id.' CODEC(ZSTD(1)),
    source LowCardinality(String) COMMENT 'The incarnation of the producer that sent it.',
    sequence Int64 COMMENT 'The producer''s count of events on this topic, from 0; -1 where it does not count.' CODEC(Delta, ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Kafka topic.',
    partition UInt32 COMMENT 'Kafka partition.' CODEC(T64, ZSTD(1)),
    offset UInt64 COMMENT 'Kafka offset.' CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the store took it.' CODEC(Delta, ZSTD(1)),
    INDEX by_finding finding_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = MergeTree
ORDER BY (toStartOfHour(given_at), tenant, given_at)
TTL toDateTime(given_at, 'UTC') + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'One row for each time that somebody said whether a finding is a false alarm.';

ALTER TABLE finding_feedback MODIFY SETTING cleanup_delay_period = 5, max_cleanup_delay_period = 20;

CREATE OR REPLACE VIEW v_finding_feedback AS
SELECT
    tenant,
    finding_id,
    max(finding_feedback.given_at) AS given_at,
    argMax(verdict, (finding_feedback.given_at, offset)) AS verdict,
    argMax(given_by, (finding_feedback.given_at, offset)) AS given_by,
    argMax(category, (finding_feedback.given_at, offset)) AS category,
    argMax(place, (finding_feedback.given_at, offset)) AS place,
    argMax(score, (finding_feedback.given_at, offset)) AS score,
    count() AS times
FROM finding_feedback
GROUP BY tenant, finding_id;

-- The proof that nothing is lost or doubled. Every producer incarnation counts its events on a topic from 0: what is missing between 0 and the highest number
-- that arrived is a gap; what is there twice is a double. What the topic's own consumer set aside counts as present: it is in dead_letters. An incarnation
-- whose first rows are older than 390 days has lost them to a table's TTL, so there its count begins at what is left.
CREATE OR REPLACE VIEW v_ledger AS
SELECT
    topic,
    source,
    sum(recorded) AS rows,
    sum(set_aside) AS dead_lettered,
    min(first_sequence) AS first,
    max(last_sequence) AS last,
    last - if(min(since) < now64(3) - INTERVAL 390 DAY, first, 0) + 1 - toInt64(groupBitmapMerge(present)) AS gaps,
    sum(repeated) AS doubles
FROM
(
    SELECT
        topic, source, count() AS recorded, 0 AS set_aside, min(sequence) AS first_sequence, max(sequence) AS last_sequence, min(at) AS since,
        groupBitmapState(toUInt64(sequence)) AS present, toInt64(count()) - toInt64(groupBitmap(toUInt64(sequence))) AS repeated
    FROM
    (
        SELECT topic, source, sequence, completed_at AS at FROM inference_events
        UNION ALL
        SELECT topic, source, sequence, submitted_at AS at FROM feedback
        UNION ALL
        SELECT topic, source, sequence, found_at AS at FROM security_findings
        UNION ALL
        SELECT topic, source, sequence, detected_at AS at FROM kpi_breaches
        UNION ALL
        SELECT topic, source, sequence, reported_at AS at FROM drift_reports
        UNION ALL
        SELECT topic, source, sequence, changed_at AS at FROM alert_changes
        UNION ALL
        SELECT topic, source, sequence, requested_at AS at FROM retraining_requests
        UNION ALL
        SELECT topic, source, sequence, reported_at AS at FROM retraining_results
        UNION ALL
        SELECT topic, source, sequence, given_at AS at FROM finding_feedback
        UNION ALL
        SELECT topic, source, sequence, occurred_at AS at FROM audit_log FINAL
    )
    WHERE sequence >= 0
    GROUP BY topic, source
    UNION ALL
    SELECT
        origin_topic AS topic, origin_source AS source, 0 AS recorded, uniqExact(origin_partition, origin_offset) AS set_aside,
        min(origin_sequence) AS first_sequence, max(origin_sequence) AS last_sequence, min(failed_at) AS since,
        groupBitmapState(toUInt64(origin_sequence)) AS present, toInt64(0) AS repeated
    FROM dead_letters
    WHERE origin_sequence >= 0 AND consumer = if(origin_topic = 'audit.entries.v1', 'audit', 'recorder')
    GROUP BY topic, source
)
GROUP BY topic, source;
