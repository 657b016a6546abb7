-- The rollup of days, like those of minutes and hours: percentiles of months need a state a day, not one an hour. What was recorded before comes from the hours,
-- which are kept as long. Nothing records meanwhile: `tocsin up` migrates first, and on a server the analyzer is stopped for it, as for 0011 and 0012.
CREATE TABLE IF NOT EXISTS inference_per_day
(
    day Date COMMENT 'Day on which requests ended, UTC.' CODEC(Delta, ZSTD(1)),
    tenant LowCardinality(String) COMMENT 'Who is billed.',
    model LowCardinality(String) COMMENT 'The model that answered.',
    outcome LowCardinality(String) COMMENT 'How they ended.',
    requests SimpleAggregateFunction(sum, UInt64) COMMENT 'How many.',
    retried SimpleAggregateFunction(sum, UInt64) COMMENT 'Those that took more than one attempt.',
    unpriced SimpleAggregateFunction(sum, UInt64) COMMENT 'Those without a known price.',
    prompt_tokens SimpleAggregateFunction(sum, UInt64) COMMENT 'Tokens of their prompts.',
    cached_tokens SimpleAggregateFunction(sum, UInt64) COMMENT 'Tokens of the prompts that were not computed again.',
    completion_tokens SimpleAggregateFunction(sum, UInt64) COMMENT 'Tokens generated.',
    cost_usd SimpleAggregateFunction(sum, Decimal(38, 12)) COMMENT 'Price in US dollars.',
    duration_ms_sum SimpleAggregateFunction(sum, Float64) COMMENT 'For means.',
    duration_ms AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), Float64) COMMENT 'quantilesTDigestMerge(0.5, 0.95, 0.99)(duration_ms).',
    ttft_ms AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), Nullable(Float64)) COMMENT 'quantilesTDigestMerge(0.5, 0.95, 0.99)(ttft_ms).',
    users AggregateFunction(uniq, String) COMMENT 'uniqMerge(users).'
)
ENGINE = AggregatingMergeTree
ORDER BY (day, tenant, model, outcome)
TTL day + INTERVAL 1830 DAY
SETTINGS non_replicated_deduplication_window = 10000, cleanup_delay_period = 5, max_cleanup_delay_period = 20
COMMENT 'Requests by day (UTC), tenant, model and outcome.';

INSERT INTO inference_per_day
SELECT
    toDate(hour) AS day, tenant, model, outcome, sum(requests), sum(retried), sum(unpriced), sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens),
    sum(cost_usd), sum(duration_ms_sum), quantilesTDigestMergeState(0.5, 0.95, 0.99)(duration_ms), quantilesTDigestMergeState(0.5, 0.95, 0.99)(ttft_ms),
    uniqMergeState(users)
FROM inference_per_hour
GROUP BY day, tenant, model, outcome
SETTINGS insert_deduplication_token = '0017_rollups', max_insert_threads = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS inference_per_day_writer TO inference_per_day AS
SELECT
    toDate(completed_at) AS day,
    tenant,
    model,
    outcome,
    count() AS requests,
    countIf(attempts > 1) AS retried,
    countIf(inference_events.cost_usd IS NULL) AS unpriced,
    sum(toUInt64(inference_events.prompt_tokens)) AS prompt_tokens,
    sum(toUInt64(inference_events.cached_tokens)) AS cached_tokens,
    sum(toUInt64(inference_events.completion_tokens)) AS completion_tokens,
    sum(ifNull(inference_events.cost_usd, toDecimal64(0, 12))) AS cost_usd,
    sum(inference_events.duration_ms) AS duration_ms_sum,
    quantilesTDigestState(0.5, 0.95, 0.99)(inference_events.duration_ms) AS duration_ms,
    quantilesTDigestState(0.5, 0.95, 0.99)(inference_events.ttft_ms) AS ttft_ms,
    uniqState(user) AS users
FROM inference_events
GROUP BY day, tenant, model, outcome
COMMENT 'Fills inference_per_day as requests are recorded.';

ALTER TABLE inference_per_minute_writer MODIFY COMMENT 'Fills inference_per_minute as requests are recorded.';

ALTER TABLE inference_per_hour_writer MODIFY COMMENT 'Fills inference_per_hour as requests are recorded.';

-- What each user did by day. A projection is a part of the table's own parts: there with the rows or not at all, made anew where an erasure writes rows anew, and
-- gone with them. No table of users has to be erased, and none can disagree.
ALTER TABLE inference_events ADD PROJECTION IF NOT EXISTS by_user
(
    SELECT
        toDate(completed_at), tenant, user, count(), countIf(outcome IN ('failed', 'expired')), countIf(outcome = 'blocked'), sum(toUInt64(prompt_tokens)),
        sum(toUInt64(completion_tokens)), sum(ifNull(cost_usd, toDecimal64(0, 12))), sum(duration_ms), min(requested_at), max(requested_at)
    GROUP BY toDate(completed_at), tenant, user
);

ALTER TABLE inference_events MATERIALIZE PROJECTION by_user;
