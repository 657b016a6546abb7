-- What people read. Every view and column has a comment, from which docs/concepts/data_dictionary.md is made; a figure's unit is in its name, what is not known is NULL.
-- Views read with the rights of whoever migrates (DEFINER), so that a tenant's analysts need no right to a table (docs/adr/0027-analytics-store.md). Each view that
-- they may read has a column `tenant`, and a row of it tells of that tenant alone; services/common/store/tenant_views.py lists them.
DROP VIEW IF EXISTS v_models_hourly;

DROP VIEW IF EXISTS v_models_minutely;

DROP VIEW IF EXISTS v_usage;

CREATE OR REPLACE VIEW v_requests
(
    completed_at DateTime64(3, 'UTC') COMMENT 'When it ended, UTC.',
    requested_at DateTime64(3, 'UTC') COMMENT 'When the gateway took it, UTC.',
    tenant LowCardinality(String) COMMENT 'Who is billed.',
    model LowCardinality(String) COMMENT 'The model that answered.',
    request_id String COMMENT 'The x-request-id that the client saw.',
    key_id LowCardinality(Nullable(String)) COMMENT 'The API key, by its public part; NULL where there was none, DELETED after an erasure.',
    user Nullable(String) COMMENT 'A pseudonym; NULL where the client named no user, DELETED after an erasure.',
    kind LowCardinality(String) COMMENT 'chat or completion.',
    lane LowCardinality(String) COMMENT 'interactive or batch.',
    stream Bool COMMENT 'Whether the answer was streamed.',
    outcome LowCardinality(String) COMMENT 'completed, cancelled, expired, failed, blocked or cache_hit.',
    finish_reasons Array(LowCardinality(String)) COMMENT 'Why each choice ended: stop, length, tool_calls, content_filter.',
    error_code LowCardinality(Nullable(String)) COMMENT 'What went wrong, as the API calls it; NULL where nothing failed.',
    attempts UInt16 COMMENT 'Replicas that worked on it; more than 1 after a failover.',
    replica_id LowCardinality(Nullable(String)) COMMENT 'The replica that ended it; NULL where none did.',
    prompt_tokens UInt32 COMMENT 'Tokens of the prompt.',
    cached_tokens UInt32 COMMENT 'Those of the prompt that were not computed again.',
    completion_tokens UInt32 COMMENT 'Tokens generated, over all choices and attempts.',
    total_tokens UInt64 COMMENT 'Tokens of the prompt and generated.',
    cost_usd Nullable(Decimal(18, 12)) COMMENT 'Its price in US dollars; NULL where the price is not known.',
    duration_ms Float64 COMMENT 'From the gateway taking it to its end, milliseconds.',
    queue_ms Nullable(Float64) COMMENT 'Of these in the queue; NULL where it was in none.',
    ttft_ms Nullable(Float64) COMMENT 'To the first token; NULL where there was none.',
    tokens_per_s Nullable(Float64) COMMENT 'Generation rate; NULL where nothing was generated.',
    mean_logprob Nullable(Float64) COMMENT 'Mean log-probability of the generated tokens, the model''s confidence; NULL where the engine tells none.',
    prompt_chars UInt32 COMMENT 'Length of the prompt in characters.',
    response_chars UInt32 COMMENT 'Length of the answer in characters.',
    prompt_text Nullable(String) COMMENT 'The masked prompt; NULL where it is not kept, or not any more.',
    response_text Nullable(String) COMMENT 'The masked answer; NULL where it is not kept, or not any more.',
    risk_level LowCardinality(Nullable(String)) COMMENT 'What was thought of the prompt before it was served: none, low, medium, high or critical; NULL where it was not inspected.',
    risk_score Nullable(Float64) COMMENT 'Points of the prompt; NULL where it was not inspected.',
    risk_action LowCardinality(Nullable(String)) COMMENT 'allowed, flagged or blocked; NULL where it was not inspected.',
    risk_categories Array(LowCardinality(String)) COMMENT 'Kinds of attack, the worst first.',
    risk_depth LowCardinality(Nullable(String)) COMMENT 'Who judged, rules or model; NULL where nobody did.',
    traceparent Nullable(String) COMMENT 'W3C trace context; NULL where there was none.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    completed_at, requested_at, tenant, model, request_id, nullIf(inference_events.key_id, '') AS key_id, nullIf(inference_events.user, '') AS user, kind, lane, stream,
    outcome, finish_reasons, nullIf(inference_events.error_code, '') AS error_code, attempts, nullIf(inference_events.replica_id, '') AS replica_id,
    prompt_tokens, cached_tokens, completion_tokens, toUInt64(prompt_tokens) + completion_tokens AS total_tokens, cost_usd, duration_ms, queue_ms, ttft_ms,
    tokens_per_s, mean_logprob, prompt_chars, response_chars, prompt_text, response_text, nullIf(inference_events.risk_level, '') AS risk_level,
    if(inference_events.risk_level = '', NULL, inference_events.risk_score) AS risk_score, nullIf(inference_events.risk_action, '') AS risk_action, risk_categories,
    nullIf(inference_events.risk_depth, '') AS risk_depth, nullIf(inference_events.traceparent, '') AS traceparent
FROM inference_events
COMMENT 'One row for each request that ended, with what it took and cost. Text is there only as far as the tenant keeps it, masked.';

CREATE OR REPLACE VIEW v_errors
(
    completed_at DateTime64(3, 'UTC') COMMENT 'When it ended, UTC.',
    tenant LowCardinality(String) COMMENT 'Who is billed.',
    model LowCardinality(String) COMMENT 'The model that was asked.',
    request_id String COMMENT 'The x-request-id that the client saw.',
    key_id LowCardinality(Nullable(String)) COMMENT 'The API key, by its public part; NULL where there was none.',
    user Nullable(String) COMMENT 'A pseudonym; NULL where the client named no user.',
    outcome LowCardinality(String) COMMENT 'failed, expired or blocked.',
    error_code LowCardinality(Nullable(String)) COMMENT 'What went wrong, as the API calls it; NULL where that is not known.',
    attempts UInt16 COMMENT 'Replicas that worked on it.',
    replica_id LowCardinality(Nullable(String)) COMMENT 'The replica that ended it; NULL where none did.',
    duration_ms Float64 COMMENT 'From the gateway taking it to its end, milliseconds.',
    queue_ms Nullable(Float64) COMMENT 'Of these in the queue; NULL where it was in none.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT completed_at, tenant, model, request_id, key_id, user, outcome, error_code, attempts, replica_id, duration_ms, queue_ms
FROM v_requests
WHERE outcome IN ('failed', 'expired', 'blocked')
COMMENT 'Requests without an answer: failed, expired in the queue, or blocked by a policy.';

CREATE OR REPLACE VIEW v_slow_requests
(
    completed_at DateTime64(3, 'UTC') COMMENT 'When it ended, UTC.',
    tenant LowCardinality(String) COMMENT 'Who is billed.',
    model LowCardinality(String) COMMENT 'The model that answered.',
    request_id String COMMENT 'The x-request-id that the client saw.',
    user Nullable(String) COMMENT 'A pseudonym; NULL where the client named no user.',
    lane LowCardinality(String) COMMENT 'interactive or batch.',
    attempts UInt16 COMMENT 'Replicas that worked on it; more than 1 after a failover.',
    prompt_tokens UInt32 COMMENT 'Tokens of the prompt.',
    completion_tokens UInt32 COMMENT 'Tokens generated.',
    duration_ms Float64 COMMENT 'From the gateway taking it to its end, milliseconds.',
    queue_ms Nullable(Float64) COMMENT 'Of these in the queue; NULL where that is not known.',
    prefill_ms Nullable(Float64) COMMENT 'Of these from leaving the queue to the first token; NULL where that is not known.',
    generation_ms Nullable(Float64) COMMENT 'Of these from the first token to the end; NULL where there was no token.',
    tokens_per_s Nullable(Float64) COMMENT 'Generation rate; NULL where nothing was generated.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    completed_at, tenant, model, request_id, user, lane, attempts, prompt_tokens, completion_tokens, duration_ms, queue_ms,
    greatest(ttft_ms - queue_ms, 0) AS prefill_ms, greatest(duration_ms - ttft_ms, 0) AS generation_ms, tokens_per_s
FROM v_requests
WHERE duration_ms >= 5000 AND outcome IN ('completed', 'cancelled')
COMMENT 'Answered requests that took five seconds or longer, with where the time went.';

CREATE OR REPLACE VIEW v_usage_minutely
(
    minute DateTime('UTC') COMMENT 'Start of the minute in which they ended, UTC.',
    tenant LowCardinality(String) COMMENT 'Who is billed.',
    model LowCardinality(String) COMMENT 'The model that answered.',
    requests UInt64 COMMENT 'How many requests ended. Exact.',
    completed_requests UInt64 COMMENT 'Those that were answered, from a model or a cache. Exact.',
    cancelled_requests UInt64 COMMENT 'Those that the client left. Exact.',
    failed_requests UInt64 COMMENT 'Those that failed or expired. Exact.',
    blocked_requests UInt64 COMMENT 'Those that a policy refused. Exact.',
    retried_requests UInt64 COMMENT 'Those that took more than one attempt. Exact.',
    unpriced_requests UInt64 COMMENT 'Those without a known price. Exact.',
    error_rate Float64 COMMENT 'Share of failed and expired requests, 0 to 1. Exact.',
    prompt_tokens UInt64 COMMENT 'Tokens of their prompts. Exact.',
    cached_tokens UInt64 COMMENT 'Those of the prompts that were not computed again. Exact.',
    completion_tokens UInt64 COMMENT 'Tokens generated. Exact.',
    cost_usd Decimal(38, 12) COMMENT 'Price in US dollars, of those whose price is known. Exact.',
    duration_mean_ms Float64 COMMENT 'Mean time from the gateway taking them to their end, milliseconds.',
    duration_p50_ms Float32 COMMENT 'Median of that time; a percentile from digests, within 1 % of a percentile rank.',
    duration_p95_ms Float32 COMMENT 'The same, 95th percentile; within half a percentile rank.',
    duration_p99_ms Float32 COMMENT 'The same, 99th percentile; within half a percentile rank.',
    ttft_p50_ms Nullable(Float32) COMMENT 'Median time to first token; NULL where no request had one.',
    ttft_p95_ms Nullable(Float32) COMMENT 'The same, 95th percentile.',
    ttft_p99_ms Nullable(Float32) COMMENT 'The same, 99th percentile.',
    users UInt64 COMMENT 'Different users who were named; exact up to some tens of thousands, then within about 1 %.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    minute, tenant, model, requests, completed_requests, cancelled_requests, failed_requests, blocked_requests, retried_requests, unpriced_requests, error_rate, prompt_tokens, cached_tokens, completion_tokens, cost_usd, duration_mean_ms, duration_p50_ms, duration_p95_ms, duration_p99_ms, ttft_p50_ms, ttft_p95_ms, ttft_p99_ms, users
FROM
(
    SELECT
        minute AS minute,
        tenant,
        model,
        sum(inference_per_minute.requests) AS requests,
        sumIf(inference_per_minute.requests, outcome IN ('completed', 'cache_hit')) AS completed_requests,
        sumIf(inference_per_minute.requests, outcome = 'cancelled') AS cancelled_requests,
        sumIf(inference_per_minute.requests, outcome IN ('failed', 'expired')) AS failed_requests,
        sumIf(inference_per_minute.requests, outcome = 'blocked') AS blocked_requests,
        sum(inference_per_minute.retried) AS retried_requests,
        sum(inference_per_minute.unpriced) AS unpriced_requests,
        failed_requests / requests AS error_rate,
        sum(inference_per_minute.prompt_tokens) AS prompt_tokens,
        sum(inference_per_minute.cached_tokens) AS cached_tokens,
        sum(inference_per_minute.completion_tokens) AS completion_tokens,
        sum(inference_per_minute.cost_usd) AS cost_usd,
        sum(inference_per_minute.duration_ms_sum) / requests AS duration_mean_ms,
        duration_quantiles[1] AS duration_p50_ms,
        duration_quantiles[2] AS duration_p95_ms,
        duration_quantiles[3] AS duration_p99_ms,
        if(isFinite(ttft_quantiles[1]), ttft_quantiles[1], NULL) AS ttft_p50_ms,
        if(isFinite(ttft_quantiles[2]), ttft_quantiles[2], NULL) AS ttft_p95_ms,
        if(isFinite(ttft_quantiles[3]), ttft_quantiles[3], NULL) AS ttft_p99_ms,
        uniqMerge(inference_per_minute.users) AS users,
        quantilesTDigestMerge(0.5, 0.95, 0.99)(inference_per_minute.duration_ms) AS duration_quantiles,
        quantilesTDigestMerge(0.5, 0.95, 0.99)(inference_per_minute.ttft_ms) AS ttft_quantiles
    FROM inference_per_minute
    GROUP BY minute, tenant, model
    HAVING requests > 0
)
COMMENT 'Requests, tokens, cost and latency by minute, tenant and model, from the rollup; kept for 90 days.';

CREATE OR REPLACE VIEW v_usage_hourly
(
    hour DateTime('UTC') COMMENT 'Start of the hour in which they ended, UTC.',
    tenant LowCardinality(String) COMMENT 'Who is billed.',
    model LowCardinality(String) COMMENT 'The model that answered.',
    requests UInt64 COMMENT 'How many requests ended. Exact.',
    completed_requests UInt64 COMMENT 'Those that were answered, from a model or a cache. Exact.',
    cancelled_requests UInt64 COMMENT 'Those that the client left. Exact.',
    failed_requests UInt64 COMMENT 'Those that failed or expired. Exact.',
    blocked_requests UInt64 COMMENT 'Those that a policy refused. Exact.',
    retried_requests UInt64 COMMENT 'Those that took more than one attempt. Exact.',
    unpriced_requests UInt64 COMMENT 'Those without a known price. Exact.',
    error_rate Float64 COMMENT 'Share of failed and expired requests, 0 to 1. Exact.',
    prompt_tokens UInt64 COMMENT 'Tokens of their prompts. Exact.',
    cached_tokens UInt64 COMMENT 'Those of the prompts that were not computed again. Exact.',
    completion_tokens UInt64 COMMENT 'Tokens generated. Exact.',
    cost_usd Decimal(38, 12) COMMENT 'Price in US dollars, of those whose price is known. Exact.',
    duration_mean_ms Float64 COMMENT 'Mean time from the gateway taking them to their end, milliseconds.',
    duration_p50_ms Float32 COMMENT 'Median of that time; a percentile from digests, within 1 % of a percentile rank.',
    duration_p95_ms Float32 COMMENT 'The same, 95th percentile; within half a percentile rank.',
    duration_p99_ms Float32 COMMENT 'The same, 99th percentile; within half a percentile rank.',
    ttft_p50_ms Nullable(Float32) COMMENT 'Median time to first token; NULL where no request had one.',
    ttft_p95_ms Nullable(Float32) COMMENT 'The same, 95th percentile.',
    ttft_p99_ms Nullable(Float32) COMMENT 'The same, 99th percentile.',
    users UInt64 COMMENT 'Different users who were named; exact up to some tens of thousands, then within about 1 %.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    hour, tenant, model, requests, completed_requests, cancelled_requests, failed_requests, blocked_requests, retried_requests, unpriced_requests, error_rate, prompt_tokens, cached_tokens, completion_tokens, cost_usd, duration_mean_ms, duration_p50_ms, duration_p95_ms, duration_p99_ms, ttft_p50_ms, ttft_p95_ms, ttft_p99_ms, users
FROM
(
    SELECT
        hour AS hour,
        tenant,
        model,
        sum(inference_per_hour.requests) AS requests,
        sumIf(inference_per_hour.requests, outcome IN ('completed', 'cache_hit')) AS completed_requests,
        sumIf(inference_per_hour.requests, outcome = 'cancelled') AS cancelled_requests,
        sumIf(inference_per_hour.requests, outcome IN ('failed', 'expired')) AS failed_requests,
        sumIf(inference_per_hour.requests, outcome = 'blocked') AS blocked_requests,
        sum(inference_per_hour.retried) AS retried_requests,
        sum(inference_per_hour.unpriced) AS unpriced_requests,
        failed_requests / requests AS error_rate,
        sum(inference_per_hour.prompt_tokens) AS prompt_tokens,
        sum(inference_per_hour.cached_tokens) AS cached_tokens,
        sum(inference_per_hour.completion_tokens) AS completion_tokens,
        sum(inference_per_hour.cost_usd) AS cost_usd,
        sum(inference_per_hour.duration_ms_sum) / requests AS duration_mean_ms,
        duration_quantiles[1] AS duration_p50_ms,
        duration_quantiles[2] AS duration_p95_ms,
        duration_quantiles[3] AS duration_p99_ms,
        if(isFinite(ttft_quantiles[1]), ttft_quantiles[1], NULL) AS ttft_p50_ms,
        if(isFinite(ttft_quantiles[2]), ttft_quantiles[2], NULL) AS ttft_p95_ms,
        if(isFinite(ttft_quantiles[3]), ttft_quantiles[3], NULL) AS ttft_p99_ms,
        uniqMerge(inference_per_hour.users) AS users,
        quantilesTDigestMerge(0.5, 0.95, 0.99)(inference_per_hour.duration_ms) AS duration_quantiles,
        quantilesTDigestMerge(0.5, 0.95, 0.99)(inference_per_hour.ttft_ms) AS ttft_quantiles
    FROM inference_per_hour
    GROUP BY hour, tenant, model
    HAVING requests > 0
)
COMMENT 'Requests, tokens, cost and latency by hour, tenant and model, from the rollup; kept for five years.';

CREATE OR REPLACE VIEW v_usage_daily
(
    day Date COMMENT 'The day on which they ended, UTC.',
    tenant LowCardinality(String) COMMENT 'Who is billed.',
    model LowCardinality(String) COMMENT 'The model that answered.',
    requests UInt64 COMMENT 'How many requests ended. Exact.',
    completed_requests UInt64 COMMENT 'Those that were answered, from a model or a cache. Exact.',
    cancelled_requests UInt64 COMMENT 'Those that the client left. Exact.',
    failed_requests UInt64 COMMENT 'Those that failed or expired. Exact.',
    blocked_requests UInt64 COMMENT 'Those that a policy refused. Exact.',
    retried_requests UInt64 COMMENT 'Those that took more than one attempt. Exact.',
    unpriced_requests UInt64 COMMENT 'Those without a known price. Exact.',
    error_rate Float64 COMMENT 'Share of failed and expired requests, 0 to 1. Exact.',
    prompt_tokens UInt64 COMMENT 'Tokens of their prompts. Exact.',
    cached_tokens UInt64 COMMENT 'Those of the prompts that were not computed again. Exact.',
    completion_tokens UInt64 COMMENT 'Tokens generated. Exact.',
    cost_usd Decimal(38, 12) COMMENT 'Price in US dollars, of those whose price is known. Exact.',
    duration_mean_ms Float64 COMMENT 'Mean time from the gateway taking them to their end, milliseconds.',
    duration_p50_ms Float32 COMMENT 'Median of that time; a percentile from digests, within 1 % of a percentile rank.',
    duration_p95_ms Float32 COMMENT 'The same, 95th percentile; within half a percentile rank.',
    duration_p99_ms Float32 COMMENT 'The same, 99th percentile; within half a percentile rank.',
    ttft_p50_ms Nullable(Float32) COMMENT 'Median time to first token; NULL where no request had one.',
    ttft_p95_ms Nullable(Float32) COMMENT 'The same, 95th percentile.',
    ttft_p99_ms Nullable(Float32) COMMENT 'The same, 99th percentile.',
    users UInt64 COMMENT 'Different users who were named; exact up to some tens of thousands, then within about 1 %.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    day, tenant, model, requests, completed_requests, cancelled_requests, failed_requests, blocked_requests, retried_requests, unpriced_requests, error_rate, prompt_tokens, cached_tokens, completion_tokens, cost_usd, duration_mean_ms, duration_p50_ms, duration_p95_ms, duration_p99_ms, ttft_p50_ms, ttft_p95_ms, ttft_p99_ms, users
FROM
(
    SELECT
        day AS day,
        tenant,
        model,
        sum(inference_per_day.requests) AS requests,
        sumIf(inference_per_day.requests, outcome IN ('completed', 'cache_hit')) AS completed_requests,
        sumIf(inference_per_day.requests, outcome = 'cancelled') AS cancelled_requests,
        sumIf(inference_per_day.requests, outcome IN ('failed', 'expired')) AS failed_requests,
        sumIf(inference_per_day.requests, outcome = 'blocked') AS blocked_requests,
        sum(inference_per_day.retried) AS retried_requests,
        sum(inference_per_day.unpriced) AS unpriced_requests,
        failed_requests / requests AS error_rate,
        sum(inference_per_day.prompt_tokens) AS prompt_tokens,
        sum(inference_per_day.cached_tokens) AS cached_tokens,
        sum(inference_per_day.completion_tokens) AS completion_tokens,
        sum(inference_per_day.cost_usd) AS cost_usd,
        sum(inference_per_day.duration_ms_sum) / requests AS duration_mean_ms,
        duration_quantiles[1] AS duration_p50_ms,
        duration_quantiles[2] AS duration_p95_ms,
        duration_quantiles[3] AS duration_p99_ms,
        if(isFinite(ttft_quantiles[1]), ttft_quantiles[1], NULL) AS ttft_p50_ms,
        if(isFinite(ttft_quantiles[2]), ttft_quantiles[2], NULL) AS ttft_p95_ms,
        if(isFinite(ttft_quantiles[3]), ttft_quantiles[3], NULL) AS ttft_p99_ms,
        uniqMerge(inference_per_day.users) AS users,
        quantilesTDigestMerge(0.5, 0.95, 0.99)(inference_per_day.duration_ms) AS duration_quantiles,
        quantilesTDigestMerge(0.5, 0.95, 0.99)(inference_per_day.ttft_ms) AS ttft_quantiles
    FROM inference_per_day
    GROUP BY day, tenant, model
    HAVING requests > 0
)
COMMENT 'Requests, tokens, cost and latency by day (UTC), tenant and model, from the rollup; kept for five years.';

CREATE OR REPLACE VIEW v_models
(
    tenant LowCardinality(String) COMMENT 'Who is billed.',
    model LowCardinality(String) COMMENT 'The model that answered.',
    first_used_at DateTime('UTC') COMMENT 'Start of the hour of its first request, UTC.',
    last_used_at DateTime('UTC') COMMENT 'Start of the hour of its newest request, UTC.',
    requests UInt64 COMMENT 'How many requests ended. Exact.',
    failed_requests UInt64 COMMENT 'Those that failed or expired. Exact.',
    error_rate Float64 COMMENT 'Share of failed and expired requests, 0 to 1. Exact.',
    prompt_tokens UInt64 COMMENT 'Tokens of their prompts. Exact.',
    completion_tokens UInt64 COMMENT 'Tokens generated. Exact.',
    cost_usd Decimal(38, 12) COMMENT 'Price in US dollars, of those whose price is known. Exact.',
    usd_per_million_tokens Nullable(Float64) COMMENT 'Price of a million tokens of prompts and answers; NULL where nothing is priced.',
    duration_mean_ms Float64 COMMENT 'Mean time from the gateway taking them to their end, milliseconds.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    tenant,
    model,
    min(hour) AS first_used_at,
    max(hour) AS last_used_at,
    sum(inference_per_hour.requests) AS requests,
    sumIf(inference_per_hour.requests, outcome IN ('failed', 'expired')) AS failed_requests,
    failed_requests / requests AS error_rate,
    sum(inference_per_hour.prompt_tokens) AS prompt_tokens,
    sum(inference_per_hour.completion_tokens) AS completion_tokens,
    sum(inference_per_hour.cost_usd) AS cost_usd,
    if(cost_usd > 0, toFloat64(cost_usd) * 1000000 / (prompt_tokens + completion_tokens), NULL) AS usd_per_million_tokens,
    sum(inference_per_hour.duration_ms_sum) / requests AS duration_mean_ms
FROM inference_per_hour
WHERE inference_per_hour.requests > 0
GROUP BY tenant, model
COMMENT 'Each model as a tenant has known it since its first request that is still in the rollup.';

CREATE OR REPLACE VIEW v_costs
(
    day Date COMMENT 'The day on which the requests ended, UTC.',
    tenant LowCardinality(String) COMMENT 'Who is billed.',
    model LowCardinality(String) COMMENT 'The model that answered.',
    key_id LowCardinality(Nullable(String)) COMMENT 'The API key, by its public part; NULL where there was none.',
    user Nullable(String) COMMENT 'A pseudonym; NULL where the client named no user.',
    requests UInt64 COMMENT 'How many requests ended.',
    unpriced_requests UInt64 COMMENT 'Those without a known price.',
    prompt_tokens UInt64 COMMENT 'Tokens of their prompts.',
    cached_tokens UInt64 COMMENT 'Those of the prompts that were not computed again.',
    completion_tokens UInt64 COMMENT 'Tokens generated.',
    cost_usd Decimal(38, 12) COMMENT 'Price in US dollars, of those whose price is known.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    toDate(completed_at) AS day,
    tenant,
    model,
    nullIf(inference_events.key_id, '') AS key_id,
    nullIf(inference_events.user, '') AS user,
    count() AS requests,
    countIf(inference_events.cost_usd IS NULL) AS unpriced_requests,
    sum(toUInt64(inference_events.prompt_tokens)) AS prompt_tokens,
    sum(toUInt64(inference_events.cached_tokens)) AS cached_tokens,
    sum(toUInt64(inference_events.completion_tokens)) AS completion_tokens,
    sum(ifNull(inference_events.cost_usd, toDecimal64(0, 12))) AS cost_usd
FROM inference_events
GROUP BY day, tenant, model, inference_events.key_id, inference_events.user
COMMENT 'What was spent by day (UTC), tenant, model, key and user: exact, from the requests themselves.';

CREATE OR REPLACE VIEW v_users
(
    day Date COMMENT 'The day on which the requests ended, UTC.',
    tenant LowCardinality(String) COMMENT 'Who is billed.',
    user Nullable(String) COMMENT 'A pseudonym; NULL for requests that named no user, DELETED after an erasure.',
    requests UInt64 COMMENT 'How many requests ended.',
    failed_requests UInt64 COMMENT 'Those that failed or expired.',
    blocked_requests UInt64 COMMENT 'Those that a policy refused.',
    prompt_tokens UInt64 COMMENT 'Tokens of their prompts.',
    completion_tokens UInt64 COMMENT 'Tokens generated.',
    cost_usd Decimal(38, 12) COMMENT 'Price in US dollars, of those whose price is known.',
    duration_mean_ms Float64 COMMENT 'Mean time from the gateway taking them to their end, milliseconds.',
    first_requested_at DateTime64(3, 'UTC') COMMENT 'When the first of them was taken, UTC.',
    last_requested_at DateTime64(3, 'UTC') COMMENT 'When the last of them was taken, UTC.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    toDate(completed_at) AS day,
    tenant,
    nullIf(inference_events.user, '') AS user,
    count() AS requests,
    countIf(outcome IN ('failed', 'expired')) AS failed_requests,
    countIf(outcome = 'blocked') AS blocked_requests,
    sum(toUInt64(inference_events.prompt_tokens)) AS prompt_tokens,
    sum(toUInt64(inference_events.completion_tokens)) AS completion_tokens,
    sum(ifNull(inference_events.cost_usd, toDecimal64(0, 12))) AS cost_usd,
    sum(duration_ms) / count() AS duration_mean_ms,
    min(requested_at) AS first_requested_at,
    max(requested_at) AS last_requested_at
FROM inference_events
GROUP BY day, tenant, inference_events.user
COMMENT 'What each user did by day (UTC): exact, from the requests themselves. Whoever was erased is DELETED, all together.';

CREATE OR REPLACE VIEW v_queue
(
    hour DateTime('UTC') COMMENT 'Start of the hour in which the requests ended, UTC.',
    tenant LowCardinality(String) COMMENT 'Who is billed.',
    model LowCardinality(String) COMMENT 'The model that was asked.',
    lane LowCardinality(String) COMMENT 'interactive or batch.',
    requests UInt64 COMMENT 'Requests that were in the queue or expired there.',
    expired_requests UInt64 COMMENT 'Those whose deadline passed while they waited.',
    queue_mean_ms Nullable(Float64) COMMENT 'Mean time in the queue, milliseconds; NULL where none left it.',
    queue_p50_ms Nullable(Float64) COMMENT 'Median of that time.',
    queue_p95_ms Nullable(Float64) COMMENT 'The same, 95th percentile.',
    queue_max_ms Nullable(Float64) COMMENT 'The longest time in the queue.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    toStartOfHour(completed_at) AS hour,
    tenant,
    model,
    lane,
    count() AS requests,
    countIf(outcome = 'expired') AS expired_requests,
    avg(queue_ms) AS queue_mean_ms,
    quantileExact(0.5)(queue_ms) AS queue_p50_ms,
    quantileExact(0.95)(queue_ms) AS queue_p95_ms,
    max(queue_ms) AS queue_max_ms
FROM inference_events
WHERE queue_ms IS NOT NULL OR outcome = 'expired'
GROUP BY hour, tenant, model, lane
COMMENT 'Waiting by hour, tenant, model and lane: exact percentiles, from the requests themselves.';

CREATE OR REPLACE VIEW v_feedback
(
    tenant LowCardinality(String) COMMENT 'Whose request it was.',
    request_id String COMMENT 'The x-request-id of the rated answer.',
    user String COMMENT 'Who rated, a pseudonym; empty where the client named no user.',
    rated_at DateTime64(3, 'UTC') COMMENT 'When it was rated last, UTC.',
    rated_model String COMMENT 'The model that answered; empty where unknown.',
    newest_rating Int8 COMMENT '1 good, -1 bad.',
    newest_comment Nullable(String) COMMENT 'What the user wrote; NULL where nothing was, or it is not kept any more.',
    newest_correction Nullable(String) COMMENT 'What the answer should have been; NULL where nothing was said.',
    times UInt64 COMMENT 'How often it was rated.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
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
GROUP BY tenant, request_id, user
COMMENT 'Ratings: the newest of each user for each request.';

CREATE OR REPLACE VIEW v_quality
(
    hour DateTime('UTC') COMMENT 'Start of the hour of the newest ratings, UTC.',
    tenant LowCardinality(String) COMMENT 'Whose requests they were.',
    model String COMMENT 'The model that answered; empty where unknown.',
    ratings UInt64 COMMENT 'Rated answers, a user''s rating of an answer once.',
    positive UInt64 COMMENT 'Those rated good.',
    satisfaction Float64 COMMENT 'positive / ratings, 0 to 1.',
    comments UInt64 COMMENT 'Those with a comment.',
    corrections UInt64 COMMENT 'Those with a correction.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
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
GROUP BY hour, tenant, model
COMMENT 'Satisfaction by hour, tenant and model: the share of answers whose newest rating is good. A window is a sum over its hours: sum(positive) / sum(ratings).';

CREATE OR REPLACE VIEW v_findings
(
    found_at DateTime64(3, 'UTC') COMMENT 'When the request ended that showed it, UTC.',
    tenant LowCardinality(String) COMMENT 'Whose request it was.',
    user String COMMENT 'A pseudonym; empty where the client named no user, and for findings about an API key.',
    key_id LowCardinality(String) COMMENT 'The API key, by its public part.',
    request_id String COMMENT 'The x-request-id; for findings about behaviour that of the request that showed it.',
    model LowCardinality(String) COMMENT 'The model that was asked.',
    finding_id String COMMENT 'This finding''s id.',
    place LowCardinality(String) COMMENT 'prompt, response or behaviour.',
    depth LowCardinality(String) COMMENT 'inline (before serving) or full (afterwards).',
    category LowCardinality(String) COMMENT 'Kind of attack or leak.',
    level LowCardinality(String) COMMENT 'none, low, medium, high or critical.',
    score Float64 COMMENT 'Points; levels begin at 3, 7, 12 and 20 by default.',
    probability Nullable(Float64) COMMENT 'Calibrated chance of an attack, 0 to 1; NULL where no model was asked.',
    action LowCardinality(String) COMMENT 'allowed, flagged, masked or blocked.',
    rule_names Array(LowCardinality(String)) COMMENT 'The rules that matched, strongest first.',
    rules String COMMENT 'The rules that matched with category, weight and span, as JSON.',
    detector_version LowCardinality(String) COMMENT 'Version of the model that judged.',
    rules_version LowCardinality(String) COMMENT 'Version of the rules.',
    explanation Array(String) COMMENT 'Why, a sentence each.',
    masked_text Nullable(String) COMMENT 'The text without personal data and secrets, of a long one what is near the strongest rule; NULL for behaviour.',
    neighbours String COMMENT 'Earlier requests of the user that the finding rests on, as JSON.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    found_at, tenant, user, key_id, request_id, model, finding_id, place, depth, category, level, score, probability, action, rule_names, rules,
    detector_version, rules_version, explanation, masked_text, neighbours
FROM security_findings
COMMENT 'What security analysis found, one row for each finding.';

CREATE OR REPLACE VIEW v_threats
(
    hour DateTime('UTC') COMMENT 'Start of the hour in which the requests ended, UTC.',
    tenant LowCardinality(String) COMMENT 'Whose requests they were.',
    category LowCardinality(String) COMMENT 'Kind of attack or leak.',
    level LowCardinality(String) COMMENT 'none, low, medium, high or critical.',
    findings UInt64 COMMENT 'How many findings.',
    requests UInt64 COMMENT 'Different requests with such findings.',
    users UInt64 COMMENT 'Different users with such findings.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    toStartOfHour(found_at) AS hour,
    tenant,
    category,
    level,
    count() AS findings,
    uniqExact(request_id) AS requests,
    uniqExactIf(user, user != '') AS users
FROM security_findings
GROUP BY hour, tenant, category, level
COMMENT 'Findings by hour, tenant, category and level. A request counts once in `requests`, whatever was found in it.';

CREATE OR REPLACE VIEW v_finding_feedback
(
    tenant LowCardinality(String) COMMENT 'Whose finding it is.',
    finding_id String COMMENT 'The finding.',
    given_at DateTime64(3, 'UTC') COMMENT 'When it was said last, UTC.',
    verdict String COMMENT 'true_alarm or false_alarm.',
    given_by String COMMENT 'Who said it: a key''s public part, a user''s pseudonym, an operator''s name.',
    category String COMMENT 'The finding''s.',
    place String COMMENT 'The finding''s: prompt, response or behaviour.',
    score Float64 COMMENT 'The finding''s, in points.',
    times UInt64 COMMENT 'How often somebody said something of it.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
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
GROUP BY tenant, finding_id
COMMENT 'What people said of findings: the newest verdict on each.';

CREATE OR REPLACE VIEW v_breaches
(
    breach_id String COMMENT 'The breach.',
    tenant LowCardinality(String) COMMENT 'Of whom; empty for the whole platform.',
    model LowCardinality(String) COMMENT 'Of which model; empty for all.',
    user Nullable(String) COMMENT 'Of which user, a pseudonym; NULL for all.',
    metric LowCardinality(String) COMMENT 'The figure, with its unit in its name.',
    severity String COMMENT 'info, warning or critical: the worst it was.',
    threshold Float64 COMMENT 'The line that it crossed.',
    value Float64 COMMENT 'What the figure was when it crossed the line.',
    began_at DateTime64(3, 'UTC') COMMENT 'When the breach was noticed, UTC.',
    recovered_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the recovery was noticed, UTC; NULL as long as it lasts.',
    duration_ms Nullable(Int64) COMMENT 'From the one to the other, milliseconds; NULL as long as it lasts.',
    examples Array(String) COMMENT 'Request ids that show it.',
    summary String COMMENT 'One sentence for people.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    breach_id,
    tenant,
    model,
    nullIf(kpi_breaches.user, '') AS user,
    metric,
    argMax(kpi_breaches.severity, transform(kpi_breaches.severity, ['info', 'warning', 'critical'], [1, 2, 3], 0)) AS severity,
    argMin(kpi_breaches.threshold, detected_at) AS threshold,
    argMin(kpi_breaches.value, detected_at) AS value,
    min(detected_at) AS began_at,
    maxOrNullIf(detected_at, state = 'recovered') AS recovered_at,
    dateDiff('millisecond', began_at, recovered_at) AS duration_ms,
    argMin(kpi_breaches.examples, detected_at) AS examples,
    argMin(kpi_breaches.summary, detected_at) AS summary
FROM kpi_breaches
GROUP BY breach_id, tenant, model, kpi_breaches.user, metric
COMMENT 'Thresholds that were crossed, one row for each breach with its recovery.';

CREATE OR REPLACE VIEW v_alerts
(
    alert_id String COMMENT 'The episode, from pending to resolved.',
    tenant LowCardinality(String) COMMENT 'Whose; empty for the whole platform.',
    rule LowCardinality(String) COMMENT 'The rule that raised it.',
    severity String COMMENT 'info, warning or critical, as it is now.',
    state String COMMENT 'pending, firing, acknowledged, silenced or resolved.',
    title String COMMENT 'What happened, in a few words.',
    summary String COMMENT 'What happened, masked.',
    started_at DateTime64(3, 'UTC') COMMENT 'When it began, UTC.',
    changed_at DateTime64(3, 'UTC') COMMENT 'When it came into its state, UTC.',
    ended_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When it was resolved, UTC; NULL before.',
    changed_by Nullable(String) COMMENT 'Who acknowledged, silenced or resolved it; NULL where nobody did.',
    changes UInt64 COMMENT 'How often its state changed.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    alert_id,
    tenant,
    rule,
    argMax(alert_changes.severity, (alert_changes.changed_at, offset)) AS severity,
    argMax(alert_changes.state, (alert_changes.changed_at, offset)) AS state,
    argMax(alert_changes.title, (alert_changes.changed_at, offset)) AS title,
    argMax(alert_changes.summary, (alert_changes.changed_at, offset)) AS summary,
    min(alert_changes.started_at) AS started_at,
    max(alert_changes.changed_at) AS changed_at,
    max(alert_changes.ended_at) AS ended_at,
    nullIf(argMax(alert_changes.changed_by, (alert_changes.changed_at, offset)), '') AS changed_by,
    count() AS changes
FROM alert_changes
GROUP BY alert_id, tenant, rule
COMMENT 'Alerts, one row for each episode in its newest state.';

CREATE OR REPLACE VIEW v_drift
(
    reported_at DateTime64(3, 'UTC') COMMENT 'When the comparison was made, UTC.',
    tenant LowCardinality(String) COMMENT 'Whose traffic; empty for all.',
    model LowCardinality(String) COMMENT 'Whose traffic.',
    report_id String COMMENT 'The report.',
    window_start DateTime64(3, 'UTC') COMMENT 'Start of the window, UTC.',
    window_end DateTime64(3, 'UTC') COMMENT 'End of the window, UTC.',
    window_requests UInt64 COMMENT 'Requests in the window.',
    baseline_requests UInt64 COMMENT 'Requests in the baseline.',
    drifted Bool COMMENT 'Whether any test is significant.',
    severity LowCardinality(String) COMMENT 'none, low, medium, high or critical, by size of the change.',
    significant_tests Array(LowCardinality(String)) COMMENT 'Tests whose adjusted p-value is at most the error rate of all together.',
    explanation Array(String) COMMENT 'What changed, a sentence each.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    reported_at, tenant, model, report_id, window_start, window_end, window_requests, baseline_requests, drifted, severity, significant_tests, explanation
FROM drift_reports
COMMENT 'Comparisons of traffic with its baseline.';

CREATE OR REPLACE VIEW v_retrainings
(
    retraining_id String COMMENT 'The retraining.',
    model LowCardinality(String) COMMENT 'Which model.',
    tenant LowCardinality(String) COMMENT 'Whose data it is trained on; empty for all.',
    requested_at DateTime64(3, 'UTC') COMMENT 'When it was asked for, UTC.',
    requested_by LowCardinality(String) COMMENT 'A service or an operator.',
    reasons Array(LowCardinality(String)) COMMENT 'drift, low_satisfaction, new_data, model_age or asked.',
    status String COMMENT 'requested, started, succeeded, rejected, failed or rolled_back.',
    reported_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When it came so far, UTC; NULL where it is only requested.',
    new_version Nullable(String) COMMENT 'The version that came of it; NULL where none did.',
    cost_usd Nullable(Decimal(18, 12)) COMMENT 'What it cost so far, in US dollars; NULL where it is only requested.',
    error Nullable(String) COMMENT 'What went wrong; NULL where nothing did.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    asked.retraining_id AS retraining_id,
    asked.model AS model,
    asked.tenant AS tenant,
    asked.requested_at AS requested_at,
    asked.requested_by AS requested_by,
    asked.reasons AS reasons,
    if(done.steps = 0, 'requested', done.status) AS status,
    if(done.steps = 0, NULL, done.reported_at) AS reported_at,
    nullIf(done.new_version, '') AS new_version,
    if(done.steps = 0, NULL, done.cost_usd) AS cost_usd,
    nullIf(done.error, '') AS error
FROM retraining_requests AS asked
LEFT JOIN
(
    SELECT
        retraining_id,
        tenant,
        count() AS steps,
        argMax(status, (retraining_results.reported_at, offset)) AS status,
        max(retraining_results.reported_at) AS reported_at,
        argMax(new_version, (retraining_results.reported_at, offset)) AS new_version,
        argMax(cost_usd, (retraining_results.reported_at, offset)) AS cost_usd,
        argMax(error, (retraining_results.reported_at, offset)) AS error
    FROM retraining_results
    GROUP BY retraining_id, tenant
) AS done USING (retraining_id, tenant)
COMMENT 'Models that were to be trained again, with how far that came.';

CREATE OR REPLACE VIEW v_request_events
(
    tenant LowCardinality(String) COMMENT 'Who is billed.',
    request_id String COMMENT 'The x-request-id that the client saw.',
    at Nullable(DateTime64(3, 'UTC')) COMMENT 'When it happened, UTC; NULL where only is known that it did.',
    step UInt8 COMMENT 'Order of events of the same time.',
    event String COMMENT 'accepted, started, first_token, finished, priced, inspected, erased, finding, finding_judged, rated, breach.',
    detail Nullable(String) COMMENT 'What is known of it, in words.',
    value Nullable(Float64) COMMENT 'The figure that belongs to it; NULL where there is none.',
    unit String COMMENT 'What the figure is: ms, tokens, usd, points, attempts, rating; empty where there is none.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT tenant, request_id, told.1 AS at, told.2 AS step, told.3 AS event, told.4 AS detail, told.5 AS value, told.6 AS unit
FROM
(
    SELECT
        tenant,
        request_id,
        arrayJoin(arrayFilter(one -> one.3 != '', [
            (toNullable(requested_at), 0, 'accepted', concat(kind, ' for ', model, ', lane ', lane, if(stream, ', streamed', '')), CAST(prompt_tokens, 'Nullable(Float64)'), 'tokens'),
            (requested_at, 1, if(risk_level = '', '', 'inspected'), concat('risk ', risk_level, ', ', risk_action, if(empty(risk_categories), '', concat(': ', arrayStringConcat(risk_categories, ', ')))), risk_score, 'points'),
            (requested_at + toIntervalMillisecond(toInt64(round(ifNull(queue_ms, 0)))), 2, if(queue_ms IS NULL, '', 'started'), 'left the queue', queue_ms, 'ms'),
            (requested_at + toIntervalMillisecond(toInt64(round(ifNull(ttft_ms, 0)))), 3, if(ttft_ms IS NULL, '', 'first_token'), 'time to first token', ttft_ms, 'ms'),
            (completed_at, 4, if(attempts > 1, 'retried', ''), 'replicas that worked on it', toFloat64(attempts), 'attempts'),
            (completed_at, 5, 'finished', concat(outcome, if(error_code = '', '', concat(': ', error_code)), if(replica_id = '', '', concat(', by ', replica_id))), duration_ms, 'ms'),
            (completed_at, 6, if(completion_tokens = 0, '', 'generated'), arrayStringConcat(finish_reasons, ', '), toFloat64(completion_tokens), 'tokens'),
            (completed_at, 7, 'priced', if(cost_usd IS NULL, 'its price is not known', concat(toString(cost_usd), ' US dollars')), toFloat64(cost_usd), 'usd'),
            (recorded_at, 8, 'recorded', if(prompt_text IS NULL, 'without text', 'with masked text'), NULL, ''),
            (NULL, 99, if(user = 'DELETED' OR key_id = 'DELETED', 'erased', ''), 'whose it was is not known any more', NULL, '')
        ])) AS told
    FROM inference_events
)
UNION ALL
SELECT tenant, request_id, found_at AS at, 20 AS step, 'finding' AS event, concat(place, ', ', category, ', ', level, ', ', action) AS detail, score AS value, 'points' AS unit
FROM security_findings
UNION ALL
SELECT found.tenant AS tenant, found.request_id AS request_id, said.given_at AS at, 21 AS step, 'finding_judged' AS event, concat(said.verdict, ' (', found.category, ')') AS detail, NULL AS value, '' AS unit
FROM finding_feedback AS said INNER JOIN security_findings AS found ON found.tenant = said.tenant AND found.finding_id = said.finding_id
UNION ALL
SELECT tenant, request_id, submitted_at AS at, 22 AS step, 'rated' AS event, if(rating > 0, 'good', 'bad') AS detail, toFloat64(rating) AS value, 'rating' AS unit
FROM feedback
UNION ALL
SELECT tenant, arrayJoin(examples) AS request_id, detected_at AS at, 23 AS step, 'breach' AS event, concat(metric, ' ', state) AS detail, kpi_breaches.value AS value, '' AS unit
FROM kpi_breaches
COMMENT 'The life of each request: everything that is stored of it, an event a row. Ask for one request_id and order by at, step.';

CREATE OR REPLACE VIEW v_audit
(
    chain LowCardinality(String) COMMENT 'The chain: a partition of the topic.',
    position UInt64 COMMENT 'Place in the chain, from 0.',
    occurred_at DateTime64(3, 'UTC') COMMENT 'When it was done, UTC.',
    tenant LowCardinality(String) COMMENT 'Whose data or settings; empty for the whole platform.',
    action LowCardinality(String) COMMENT 'What was done, as an object and a verb.',
    outcome LowCardinality(String) COMMENT 'done, denied or failed.',
    object_kind LowCardinality(String) COMMENT 'What kind of thing it was done to.',
    object_id String COMMENT 'What it was done to; DELETED once erased.',
    actor_kind LowCardinality(String) COMMENT 'key, user, operator or service.',
    actor_id String COMMENT 'Who did it; DELETED once erased.',
    address String COMMENT 'Where from, truncated or keyed.',
    reason String COMMENT 'Why.',
    before String COMMENT 'What was changed, before, as JSON without secrets; empty where nothing was.',
    after String COMMENT 'The same, afterwards.',
    entry_id String COMMENT 'This entry''s id.',
    request_id String COMMENT 'The x-request-id that it was done with; empty where there was none.',
    previous_hash String COMMENT 'Hash of the row before it.',
    hash String COMMENT 'SHA-256 over this row.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    chain, position, occurred_at, tenant, action, outcome, object_kind, object_id, actor_kind, actor_id, address, reason, before, after, entry_id, request_id,
    previous_hash, hash
FROM audit_log FINAL
COMMENT 'What administrators, operators, services and analysts did, in the order of the chain.';

CREATE OR REPLACE VIEW v_dead_letters
(
    origin_topic LowCardinality(String) COMMENT 'Where it was.',
    origin_partition UInt32 COMMENT 'Where it was.',
    origin_offset UInt64 COMMENT 'Where it was.',
    consumer LowCardinality(String) COMMENT 'Who could not use it.',
    first_failed_at DateTime64(3, 'UTC') COMMENT 'When it was set aside first, UTC.',
    times UInt64 COMMENT 'How often it was set aside.',
    event_source String COMMENT 'Its producer''s incarnation; empty where its envelope cannot be read.',
    event_sequence Int64 COMMENT 'Its producer''s count; -1 where its envelope cannot be read.',
    last_attempts UInt16 COMMENT 'How often it was tried the last time.',
    last_error_type String COMMENT 'What went wrong the last time, in one word.',
    last_error String COMMENT 'What went wrong the last time.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
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
GROUP BY origin_topic, origin_partition, origin_offset, consumer
COMMENT 'Records that a consumer could not use, each once however often it was set aside.';

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

CREATE OR REPLACE VIEW v_rollups
(
    rollup_of String COMMENT 'minute, hour or day: which rollup is held against the table.',
    began_at DateTime('UTC') COMMENT 'Start of the hour, of the rollup of days of the day, UTC.',
    in_table UInt64 COMMENT 'Requests that ended in it, by the table.',
    in_rollup UInt64 COMMENT 'The same by the rollup.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT rollup_of, began_at, sum(events) AS in_table, sum(counted) AS in_rollup
FROM
(
    SELECT arrayJoin(['minute', 'hour', 'day']) AS rollup_of, if(rollup_of = 'day', toStartOfDay(hour), hour) AS began_at, events, 0 AS counted
    FROM
    (
        SELECT toStartOfHour(completed_at) AS hour, count() AS events
        FROM inference_events WHERE completed_at >= toStartOfDay(now('UTC')) - INTERVAL 85 DAY GROUP BY hour
    )
    UNION ALL
    SELECT 'minute' AS rollup_of, toStartOfHour(minute) AS began_at, 0 AS events, sum(requests) AS counted
    FROM inference_per_minute WHERE minute >= toStartOfDay(now('UTC')) - INTERVAL 85 DAY GROUP BY began_at
    UNION ALL
    SELECT 'hour' AS rollup_of, hour AS began_at, 0 AS events, sum(requests) AS counted
    FROM inference_per_hour WHERE hour >= toStartOfDay(now('UTC')) - INTERVAL 85 DAY GROUP BY hour
    UNION ALL
    SELECT 'day' AS rollup_of, toDateTime(day, 'UTC') AS began_at, 0 AS events, sum(requests) AS counted
    FROM inference_per_day WHERE day >= toDate(now('UTC')) - 85 GROUP BY day
)
GROUP BY rollup_of, began_at
COMMENT 'Whether each rollup says what the table says, of the last 85 days.';
