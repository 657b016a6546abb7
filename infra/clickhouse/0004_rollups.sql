-- Rollups, filled by materialized views as events come. Both read inference_events itself, so that one token repairs both.
CREATE TABLE IF NOT EXISTS inference_per_minute
(
    minute DateTime COMMENT 'Start of the minute in which requests ended, UTC.' CODEC(Delta, ZSTD(1)),
    tenant LowCardinality(String) COMMENT 'Who is billed.',
    model LowCardinality(String) COMMENT 'The model that answered.',
    outcome LowCardinality(String) COMMENT 'How they ended.',
    requests SimpleAggregateFunction(sum, UInt64) COMMENT 'How many.',
    retried SimpleAggregateFunction(sum, UInt64) COMMENT 'Those that took more than one attempt.',
    prompt_tokens SimpleAggregateFunction(sum, UInt64) COMMENT 'Tokens of their prompts.',
    completion_tokens SimpleAggregateFunction(sum, UInt64) COMMENT 'Tokens generated.',
    cost_usd SimpleAggregateFunction(sum, Decimal(38, 12)) COMMENT 'Price in US dollars.',
    duration_ms_sum SimpleAggregateFunction(sum, Float64) COMMENT 'For means.',
    duration_ms AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), Float64) COMMENT 'quantilesTDigestMerge(0.5, 0.95, 0.99)(duration_ms).',
    ttft_ms AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), Nullable(Float64)) COMMENT 'quantilesTDigestMerge(0.5, 0.95, 0.99)(ttft_ms).',
    users AggregateFunction(uniq, String) COMMENT 'uniqMerge(users).'
)
ENGINE = AggregatingMergeTree
ORDER BY (minute, tenant, model, outcome)
TTL minute + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Requests by minute, tenant, model and outcome.';

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

CREATE TABLE IF NOT EXISTS inference_per_hour
(
    hour DateTime COMMENT 'Start of the hour in which requests ended, UTC.' CODEC(Delta, ZSTD(1)),
    tenant LowCardinality(String) COMMENT 'Who is billed.',
    model LowCardinality(String) COMMENT 'The model that answered.',
    outcome LowCardinality(String) COMMENT 'How they ended.',
    requests SimpleAggregateFunction(sum, UInt64) COMMENT 'How many.',
    retried SimpleAggregateFunction(sum, UInt64) COMMENT 'Those that took more than one attempt.',
    prompt_tokens SimpleAggregateFunction(sum, UInt64) COMMENT 'Tokens of their prompts.',
    completion_tokens SimpleAggregateFunction(sum, UInt64) COMMENT 'Tokens generated.',
    cost_usd SimpleAggregateFunction(sum, Decimal(38, 12)) COMMENT 'Price in US dollars.',
    duration_ms_sum SimpleAggregateFunction(sum, Float64) COMMENT 'For means.',
    duration_ms AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), Float64) COMMENT 'quantilesTDigestMerge(0.5, 0.95, 0.99)(duration_ms).',
    ttft_ms AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), Nullable(Float64)) COMMENT 'quantilesTDigestMerge(0.5, 0.95, 0.99)(ttft_ms).',
    users AggregateFunction(uniq, String) COMMENT 'uniqMerge(users).'
)
ENGINE = AggregatingMergeTree
ORDER BY (hour, tenant, model, outcome)
TTL hour + INTERVAL 1830 DAY
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Requests by hour, tenant, model and outcome.';

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
