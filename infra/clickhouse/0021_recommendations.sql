-- What the analyzer recommends and what people decided of it, recorded from recommendations.changes.v1 (docs/concepts/analytics/recommendations.md).
CREATE TABLE IF NOT EXISTS recommendation_changes
(
    changed_at DateTime64(3, 'UTC') COMMENT 'When it was told or decided.' CODEC(Delta, ZSTD(1)),
    tenant LowCardinality(String) COMMENT 'Whom it is about; empty for the whole platform and for models.',
    fingerprint String COMMENT 'The recommendation: the same for the same rule and subject, always.' CODEC(ZSTD(1)),
    change_id String COMMENT 'This change.' CODEC(ZSTD(1)),
    change LowCardinality(String) COMMENT 'raised, renewed, reopened or lapsed (the analyzer), accepted, dismissed or done (people).',
    changed_by_kind LowCardinality(String) COMMENT 'service, key, user or operator.',
    changed_by String COMMENT 'Who: a service, a key''s public part, a user''s pseudonym, an operator''s name.' CODEC(ZSTD(1)),
    reason String COMMENT 'Why, in the words of who decided; why one was reopened or lapsed.' CODEC(ZSTD(1)),
    severity LowCardinality(String) COMMENT 'info, warning or critical: as it was told, or as it was when somebody decided.',
    harm Float64 COMMENT 'What there was of the figure: a day''s mean, or what was counted; less is better.' CODEC(ZSTD(1)),
    rule LowCardinality(String) COMMENT 'The rule; empty, as all that follows, where nothing was told anew.',
    family LowCardinality(String) COMMENT 'security, performance, usage or cost.',
    score Float64 COMMENT 'How pressing, 0 to 100.' CODEC(ZSTD(1)),
    title String COMMENT 'What is the matter, in a few words.' CODEC(ZSTD(1)),
    why String COMMENT 'The figures, in words.' CODEC(ZSTD(1)),
    actions Array(String) COMMENT 'What to do: commands and sentences.' CODEC(ZSTD(1)),
    subject Map(String, String) COMMENT 'Whom or what it is about, by the columns of the evidence.' CODEC(ZSTD(1)),
    facts Map(String, String) COMMENT 'The figures of the evidence.' CODEC(ZSTD(1)),
    query LowCardinality(String) COMMENT 'The saved query that is the evidence.',
    days UInt16 COMMENT 'How many days before as_of it looks at.' CODEC(T64, ZSTD(1)),
    as_of Nullable(DateTime64(3, 'UTC')) COMMENT 'End of the days that it looks at.' CODEC(ZSTD(1)),
    figure LowCardinality(String) COMMENT 'What is measured, of which less is better.',
    unit LowCardinality(String) COMMENT 'The unit of the gain.',
    target Float64 COMMENT 'What the figure could be.' CODEC(ZSTD(1)),
    gain Float64 COMMENT 'What would be gained if the figure fell to its target.' CODEC(ZSTD(1)),
    gain_low Float64 COMMENT 'Lower end of its 90 % interval.' CODEC(ZSTD(1)),
    gain_high Float64 COMMENT 'Upper end of its 90 % interval.' CODEC(ZSTD(1)),
    confidence Float64 COMMENT 'How likely there is any gain, 0 to 1.' CODEC(ZSTD(1)),
    statistic LowCardinality(String) COMMENT 'Where the interval comes from.',
    event_id String COMMENT 'CloudEvents id.' CODEC(ZSTD(1)),
    source LowCardinality(String) COMMENT 'The incarnation of the producer that sent it.',
    sequence Int64 COMMENT 'The producer''s count of events on this topic, from 0; -1 where it does not count.' CODEC(Delta, ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Kafka topic.',
    partition UInt32 COMMENT 'Kafka partition.' CODEC(T64, ZSTD(1)),
    offset UInt64 COMMENT 'Kafka offset.' CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the store took it.' CODEC(Delta, ZSTD(1)),
    INDEX by_fingerprint fingerprint TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = MergeTree
ORDER BY (toStartOfHour(changed_at), tenant, changed_at)
TTL toDateTime(changed_at, 'UTC') + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'One row for each time that a recommendation was told, told anew or decided on.';

ALTER TABLE recommendation_changes MODIFY SETTING cleanup_delay_period = 5, max_cleanup_delay_period = 20;

CREATE OR REPLACE VIEW v_recommendations
(
    fingerprint String COMMENT 'The recommendation: the same for the same rule and subject, always.',
    tenant LowCardinality(String) COMMENT 'Whom it is about; empty for the whole platform and for models.',
    state String COMMENT 'new, accepted, dismissed, done, or lapsed: its conditions do not hold any more.',
    rule String COMMENT 'The rule.',
    family String COMMENT 'security, performance, usage or cost.',
    severity String COMMENT 'info, warning or critical, as it was told last.',
    score Float64 COMMENT 'How pressing, 0 to 100.',
    title String COMMENT 'What is the matter, in a few words.',
    why String COMMENT 'The figures, in words.',
    actions Array(String) COMMENT 'What to do: commands and sentences.',
    subject Map(String, String) COMMENT 'Whom or what it is about, by the columns of the evidence.',
    facts Map(String, String) COMMENT 'The figures of the evidence.',
    query String COMMENT 'The saved query that is the evidence: asked of the tenant and the days before as_of, its row of the subject.',
    days UInt16 COMMENT 'How many days before as_of it looks at.',
    as_of Nullable(DateTime64(3, 'UTC')) COMMENT 'End of the days that it looks at.',
    figure String COMMENT 'What is measured, of which less is better.',
    unit String COMMENT 'The unit of the gain.',
    harm Float64 COMMENT 'What there is of the figure: a day''s mean, or what was counted.',
    target Float64 COMMENT 'What the figure could be.',
    gain Float64 COMMENT 'What would be gained if the figure fell to its target.',
    gain_low Float64 COMMENT 'Lower end of its 90 % interval.',
    gain_high Float64 COMMENT 'Upper end of its 90 % interval.',
    confidence Float64 COMMENT 'How likely there is any gain, 0 to 1.',
    statistic String COMMENT 'Where the interval comes from.',
    raised_at DateTime64(3, 'UTC') COMMENT 'When it was told first, UTC.',
    told_at DateTime64(3, 'UTC') COMMENT 'When its figures were told last, UTC.',
    reopened UInt64 COMMENT 'How often it was opened again.',
    reopened_because Nullable(String) COMMENT 'Why it was opened again the last time; NULL where it never was.',
    decided_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When somebody decided last, UTC; NULL where nobody did.',
    decision Nullable(String) COMMENT 'accepted, dismissed or done: the last decision; NULL where there was none.',
    decided_by Nullable(String) COMMENT 'Who decided: a key''s public part, a user''s pseudonym, an operator''s name; NULL where nobody did.',
    decision_reason Nullable(String) COMMENT 'Why, in their words; NULL where nothing was said.',
    decided_harm Nullable(Float64) COMMENT 'What there was of the figure then; NULL where nobody decided.',
    decided_severity Nullable(String) COMMENT 'The severity then; NULL where nobody decided.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    fingerprint,
    tenant,
    transform(argMaxIf(change, (recommendation_changes.changed_at, offset), change NOT IN ('raised', 'renewed')), ['', 'reopened'], ['new', 'new'], argMaxIf(change, (recommendation_changes.changed_at, offset), change NOT IN ('raised', 'renewed'))) AS state,
    argMaxIf(recommendation_changes.rule, (recommendation_changes.changed_at, offset), change IN ('raised', 'renewed', 'reopened')) AS rule,
    argMaxIf(recommendation_changes.family, (recommendation_changes.changed_at, offset), change IN ('raised', 'renewed', 'reopened')) AS family,
    argMaxIf(recommendation_changes.severity, (recommendation_changes.changed_at, offset), change IN ('raised', 'renewed', 'reopened')) AS severity,
    argMaxIf(recommendation_changes.score, (recommendation_changes.changed_at, offset), change IN ('raised', 'renewed', 'reopened')) AS score,
    argMaxIf(recommendation_changes.title, (recommendation_changes.changed_at, offset), change IN ('raised', 'renewed', 'reopened')) AS title,
    argMaxIf(recommendation_changes.why, (recommendation_changes.changed_at, offset), change IN ('raised', 'renewed', 'reopened')) AS why,
    argMaxIf(recommendation_changes.actions, (recommendation_changes.changed_at, offset), change IN ('raised', 'renewed', 'reopened')) AS actions,
    argMaxIf(recommendation_changes.subject, (recommendation_changes.changed_at, offset), change IN ('raised', 'renewed', 'reopened')) AS subject,
    argMaxIf(recommendation_changes.facts, (recommendation_changes.changed_at, offset), change IN ('raised', 'renewed', 'reopened')) AS facts,
    argMaxIf(recommendation_changes.query, (recommendation_changes.changed_at, offset), change IN ('raised', 'renewed', 'reopened')) AS query,
    argMaxIf(recommendation_changes.days, (recommendation_changes.changed_at, offset), change IN ('raised', 'renewed', 'reopened')) AS days,
    argMaxIf(recommendation_changes.as_of, (recommendation_changes.changed_at, offset), change IN ('raised', 'renewed', 'reopened')) AS as_of,
    argMaxIf(recommendation_changes.figure, (recommendation_changes.changed_at, offset), change IN ('raised', 'renewed', 'reopened')) AS figure,
    argMaxIf(recommendation_changes.unit, (recommendation_changes.changed_at, offset), change IN ('raised', 'renewed', 'reopened')) AS unit,
    argMaxIf(recommendation_changes.harm, (recommendation_changes.changed_at, offset), change IN ('raised', 'renewed', 'reopened')) AS harm,
    argMaxIf(recommendation_changes.target, (recommendation_changes.changed_at, offset), change IN ('raised', 'renewed', 'reopened')) AS target,
    argMaxIf(recommendation_changes.gain, (recommendation_changes.changed_at, offset), change IN ('raised', 'renewed', 'reopened')) AS gain,
    argMaxIf(recommendation_changes.gain_low, (recommendation_changes.changed_at, offset), change IN ('raised', 'renewed', 'reopened')) AS gain_low,
    argMaxIf(recommendation_changes.gain_high, (recommendation_changes.changed_at, offset), change IN ('raised', 'renewed', 'reopened')) AS gain_high,
    argMaxIf(recommendation_changes.confidence, (recommendation_changes.changed_at, offset), change IN ('raised', 'renewed', 'reopened')) AS confidence,
    argMaxIf(recommendation_changes.statistic, (recommendation_changes.changed_at, offset), change IN ('raised', 'renewed', 'reopened')) AS statistic,
    min(recommendation_changes.changed_at) AS raised_at,
    maxIf(recommendation_changes.changed_at, change IN ('raised', 'renewed', 'reopened')) AS told_at,
    countIf(change = 'reopened') AS reopened,
    nullIf(argMaxIf(recommendation_changes.reason, (recommendation_changes.changed_at, offset), change = 'reopened'), '') AS reopened_because,
    maxOrNullIf(recommendation_changes.changed_at, change IN ('accepted', 'dismissed', 'done')) AS decided_at,
    nullIf(argMaxIf(change, (recommendation_changes.changed_at, offset), change IN ('accepted', 'dismissed', 'done')), '') AS decision,
    nullIf(argMaxIf(changed_by, (recommendation_changes.changed_at, offset), change IN ('accepted', 'dismissed', 'done')), '') AS decided_by,
    nullIf(argMaxIf(recommendation_changes.reason, (recommendation_changes.changed_at, offset), change IN ('accepted', 'dismissed', 'done')), '') AS decision_reason,
    if(countIf(change IN ('accepted', 'dismissed', 'done')) > 0, argMaxIf(recommendation_changes.harm, (recommendation_changes.changed_at, offset), change IN ('accepted', 'dismissed', 'done')), NULL) AS decided_harm,
    nullIf(argMaxIf(recommendation_changes.severity, (recommendation_changes.changed_at, offset), change IN ('accepted', 'dismissed', 'done')), '') AS decided_severity
FROM recommendation_changes
GROUP BY fingerprint, tenant
HAVING rule != ''
COMMENT 'What is recommended, one row each as it stands, with what was decided of it.';

CREATE OR REPLACE VIEW v_ledger
(
    topic LowCardinality(String) COMMENT 'The topic.',
    source LowCardinality(String) COMMENT 'One incarnation of a producer.',
    rows UInt64 COMMENT 'Its events that are stored.',
    dead_lettered UInt64 COMMENT 'Its events that a consumer set aside; they count as present.',
    first Int64 COMMENT 'Its lowest number that is there.',
    last Int64 COMMENT 'Its highest number that is there.',
    gaps Int64 COMMENT 'Numbers that are missing.',
    doubles Int64 COMMENT 'Numbers that are there more than once.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
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
        SELECT topic, source, sequence, changed_at AS at FROM recommendation_changes
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
GROUP BY topic, source
COMMENT 'The proof that nothing is lost or doubled: what producers counted, held against what is stored.';
