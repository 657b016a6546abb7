-- The ledger over every counted topic, and satisfaction.
CREATE OR REPLACE VIEW v_feedback AS
SELECT
    tenant,
    request_id,
    user,
    max(submitted_at) AS rated_at,
    argMax(model, (submitted_at, offset)) AS rated_model,
    argMax(rating, (submitted_at, offset)) AS newest_rating,
    argMax(tuple(comment), (submitted_at, offset)).1 AS newest_comment,
    argMax(tuple(correction), (submitted_at, offset)).1 AS newest_correction,
    count() AS times
FROM feedback
GROUP BY tenant, request_id, user;

-- Satisfaction: the share of answers whose newest rating is good. A window is a sum over its hours: sum(positive) / sum(ratings).
CREATE OR REPLACE VIEW v_quality AS
SELECT
    toStartOfHour(rated_at) AS hour,
    tenant,
    rated_model AS model,
    count() AS ratings,
    countIf(newest_rating = 1) AS positive,
    positive / ratings AS satisfaction,
    countIf(newest_comment IS NOT NULL) AS comments,
    countIf(newest_correction IS NOT NULL) AS corrections
FROM v_feedback
GROUP BY hour, tenant, model;

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
