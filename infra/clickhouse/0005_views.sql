-- What analysts, the dashboard and `tocsin doctor` read.
CREATE OR REPLACE VIEW v_requests AS
SELECT
    completed_at, requested_at, tenant, model, request_id, key_id, user, kind, lane, stream, outcome, finish_reasons, error_code, attempts, replica_id,
    prompt_tokens, completion_tokens, prompt_tokens + completion_tokens AS total_tokens, cost_usd, duration_ms, queue_ms, ttft_ms, tokens_per_s, mean_logprob,
    prompt_chars, response_chars, prompt_text, response_text, traceparent
FROM inference_events;

CREATE OR REPLACE VIEW v_errors AS
SELECT completed_at, tenant, model, request_id, outcome, error_code, attempts, replica_id, duration_ms
FROM inference_events
WHERE outcome IN ('failed', 'expired', 'blocked');

CREATE OR REPLACE VIEW v_models_hourly AS
SELECT
    hour,
    model,
    sum(requests) AS request_count,
    sumIf(requests, outcome IN ('failed', 'expired')) AS failed_count,
    failed_count / request_count AS error_rate,
    sum(prompt_tokens) AS prompt_token_count,
    sum(completion_tokens) AS completion_token_count,
    sum(cost_usd) AS total_cost_usd,
    sum(duration_ms_sum) / request_count AS duration_mean_ms,
    quantilesTDigestMerge(0.5, 0.95, 0.99)(duration_ms) AS duration_p50_p95_p99_ms,
    quantilesTDigestMerge(0.5, 0.95, 0.99)(ttft_ms) AS ttft_p50_p95_p99_ms,
    uniqMerge(users) AS user_count
FROM inference_per_hour
GROUP BY hour, model;

CREATE OR REPLACE VIEW v_models_minutely AS
SELECT
    minute,
    model,
    sum(requests) AS request_count,
    sumIf(requests, outcome IN ('failed', 'expired')) AS failed_count,
    sum(completion_tokens) AS completion_token_count,
    quantilesTDigestMerge(0.5, 0.95, 0.99)(duration_ms) AS duration_p50_p95_p99_ms,
    quantilesTDigestMerge(0.5, 0.95, 0.99)(ttft_ms) AS ttft_p50_p95_p99_ms
FROM inference_per_minute
GROUP BY minute, model;

CREATE OR REPLACE VIEW v_usage AS
SELECT
    toDate(hour) AS day,
    tenant,
    model,
    sum(requests) AS request_count,
    sum(prompt_tokens) AS prompt_token_count,
    sum(completion_tokens) AS completion_token_count,
    sum(cost_usd) AS total_cost_usd,
    uniqMerge(users) AS user_count
FROM inference_per_hour
GROUP BY day, tenant, model;

CREATE OR REPLACE VIEW v_dead_letters AS
SELECT
    origin_topic, origin_partition, origin_offset, consumer,
    min(failed_at) AS first_failed_at,
    count() AS times,
    argMax(origin_source, failed_at) AS event_source,
    argMax(origin_sequence, failed_at) AS event_sequence,
    argMax(attempts, failed_at) AS last_attempts,
    argMax(error_type, failed_at) AS last_error_type,
    argMax(error, failed_at) AS last_error
FROM dead_letters
GROUP BY origin_topic, origin_partition, origin_offset, consumer;

-- The proof that nothing is lost or doubled. Every producer incarnation counts its events on a topic from 0: what is missing between 0 and the highest number
-- that arrived is a gap; what is there twice is a double. What the recorder set aside counts as present: it is in dead_letters. An incarnation whose first rows
-- are older than 390 days has lost them to the table's TTL, so there its count begins at what is left.
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
        topic, source, count() AS recorded, 0 AS set_aside, min(sequence) AS first_sequence, max(sequence) AS last_sequence, min(occurred_at) AS since,
        groupBitmapState(toUInt64(sequence)) AS present, toInt64(count()) - toInt64(groupBitmap(toUInt64(sequence))) AS repeated
    FROM inference_events
    WHERE sequence >= 0
    GROUP BY topic, source
    UNION ALL
    SELECT
        origin_topic AS topic, origin_source AS source, 0 AS recorded, uniqExact(origin_partition, origin_offset) AS set_aside,
        min(origin_sequence) AS first_sequence, max(origin_sequence) AS last_sequence, min(failed_at) AS since,
        groupBitmapState(toUInt64(origin_sequence)) AS present, toInt64(0) AS repeated
    FROM dead_letters
    WHERE origin_sequence >= 0 AND consumer = 'recorder'
    GROUP BY topic, source
)
GROUP BY topic, source;

-- Whether the rollups say what the table says. Hours that are older than the minutes' TTL agree no more and are left out.
CREATE OR REPLACE VIEW v_rollups AS
SELECT
    hour,
    sum(events) AS in_table,
    sum(by_minute) AS in_minutes,
    sum(by_hour) AS in_hours
FROM
(
    SELECT toStartOfHour(completed_at) AS hour, count() AS events, 0 AS by_minute, 0 AS by_hour
    FROM inference_events WHERE completed_at >= now() - INTERVAL 85 DAY GROUP BY hour
    UNION ALL
    SELECT toStartOfHour(minute) AS hour, 0 AS events, sum(requests) AS by_minute, 0 AS by_hour
    FROM inference_per_minute WHERE minute >= now() - INTERVAL 85 DAY GROUP BY hour
    UNION ALL
    SELECT hour, 0 AS events, 0 AS by_minute, sum(requests) AS by_hour
    FROM inference_per_hour WHERE hour >= now() - INTERVAL 85 DAY GROUP BY hour
)
GROUP BY hour;
