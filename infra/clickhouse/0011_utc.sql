-- All times are UTC, whatever a server's time zone is: the type says so. Only the type's name changes, no data is rewritten.
ALTER TABLE inference_events
    MODIFY COLUMN completed_at DateTime64(3, 'UTC'),
    MODIFY COLUMN requested_at DateTime64(3, 'UTC'),
    MODIFY COLUMN occurred_at DateTime64(3, 'UTC'),
    MODIFY COLUMN recorded_at DateTime64(3, 'UTC') DEFAULT now64(3);

ALTER TABLE dead_letters
    MODIFY COLUMN failed_at DateTime64(3, 'UTC'),
    MODIFY COLUMN recorded_at DateTime64(3, 'UTC') DEFAULT now64(3);

ALTER TABLE inference_per_minute MODIFY COLUMN minute DateTime('UTC');

ALTER TABLE inference_per_hour MODIFY COLUMN hour DateTime('UTC');

-- The writers are made anew: one that keeps the old types converts each block on its way, and after a kill between table and rollup its repeat
-- was dropped (seen on chDB: the rollup then lacked the block for good).
DROP VIEW IF EXISTS inference_per_minute_writer;

CREATE MATERIALIZED VIEW IF NOT EXISTS inference_per_minute_writer TO inference_per_minute AS
SELECT
    toStartOfMinute(completed_at) AS minute,
    tenant,
    model,
    outcome,
    count() AS requests,
    countIf(attempts > 1) AS retried,
    sum(toUInt64(inference_events.prompt_tokens)) AS prompt_tokens,
    sum(toUInt64(inference_events.completion_tokens)) AS completion_tokens,
    sum(inference_events.cost_usd) AS cost_usd,
    sum(inference_events.duration_ms) AS duration_ms_sum,
    quantilesTDigestState(0.5, 0.95, 0.99)(inference_events.duration_ms) AS duration_ms,
    quantilesTDigestState(0.5, 0.95, 0.99)(inference_events.ttft_ms) AS ttft_ms,
    uniqState(user) AS users
FROM inference_events
GROUP BY minute, tenant, model, outcome;

DROP VIEW IF EXISTS inference_per_hour_writer;

CREATE MATERIALIZED VIEW IF NOT EXISTS inference_per_hour_writer TO inference_per_hour AS
SELECT
    toStartOfHour(completed_at) AS hour,
    tenant,
    model,
    outcome,
    count() AS requests,
    countIf(attempts > 1) AS retried,
    sum(toUInt64(inference_events.prompt_tokens)) AS prompt_tokens,
    sum(toUInt64(inference_events.completion_tokens)) AS completion_tokens,
    sum(inference_events.cost_usd) AS cost_usd,
    sum(inference_events.duration_ms) AS duration_ms_sum,
    quantilesTDigestState(0.5, 0.95, 0.99)(inference_events.duration_ms) AS duration_ms,
    quantilesTDigestState(0.5, 0.95, 0.99)(inference_events.ttft_ms) AS ttft_ms,
    uniqState(user) AS users
FROM inference_events
GROUP BY hour, tenant, model, outcome;

-- Views keep the types that they were made with.
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
