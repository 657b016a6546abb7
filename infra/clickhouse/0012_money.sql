-- Money: a request whose price is not known has no cost (NULL, which is not 0), and is counted apart. Cached tokens are among those of the prompt.
ALTER TABLE inference_events
    MODIFY COLUMN cost_usd Nullable(Decimal(18, 12)) COMMENT 'Price of this request in US dollars; NULL where it is not known.' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS cached_tokens UInt32 COMMENT 'Tokens of the prompt that were not computed again.' CODEC(T64, ZSTD(1)) AFTER completion_tokens;

ALTER TABLE inference_per_minute
    ADD COLUMN IF NOT EXISTS unpriced SimpleAggregateFunction(sum, UInt64) COMMENT 'Those without a known price.' AFTER retried,
    ADD COLUMN IF NOT EXISTS cached_tokens SimpleAggregateFunction(sum, UInt64) COMMENT 'Tokens of the prompts that were not computed again.' AFTER prompt_tokens;

ALTER TABLE inference_per_hour
    ADD COLUMN IF NOT EXISTS unpriced SimpleAggregateFunction(sum, UInt64) COMMENT 'Those without a known price.' AFTER retried,
    ADD COLUMN IF NOT EXISTS cached_tokens SimpleAggregateFunction(sum, UInt64) COMMENT 'Tokens of the prompts that were not computed again.' AFTER prompt_tokens;

-- The writers are made anew, as they keep the types that they were made with.
DROP VIEW IF EXISTS inference_per_minute_writer;

CREATE MATERIALIZED VIEW IF NOT EXISTS inference_per_minute_writer TO inference_per_minute AS
SELECT
    toStartOfMinute(completed_at) AS minute,
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
GROUP BY hour, tenant, model, outcome;

CREATE OR REPLACE VIEW v_requests AS
SELECT
    completed_at, requested_at, tenant, model, request_id, key_id, user, kind, lane, stream, outcome, finish_reasons, error_code, attempts, replica_id,
    prompt_tokens, cached_tokens, completion_tokens, prompt_tokens + completion_tokens AS total_tokens, cost_usd, duration_ms, queue_ms, ttft_ms, tokens_per_s,
    mean_logprob, prompt_chars, response_chars, prompt_text, response_text, traceparent
FROM inference_events;

CREATE OR REPLACE VIEW v_usage AS
SELECT
    toDate(hour) AS day,
    tenant,
    model,
    sum(requests) AS request_count,
    sum(unpriced) AS unpriced_count,
    sum(prompt_tokens) AS prompt_token_count,
    sum(cached_tokens) AS cached_token_count,
    sum(completion_tokens) AS completion_token_count,
    sum(cost_usd) AS total_cost_usd,
    uniqMerge(users) AS user_count
FROM inference_per_hour
GROUP BY day, tenant, model;

-- What was spent, a day (UTC): exact, from the requests themselves, which are there once each however often they were sent.
CREATE OR REPLACE VIEW v_costs AS
SELECT
    toDate(completed_at) AS day,
    tenant,
    model,
    key_id,
    user,
    count() AS request_count,
    countIf(cost_usd IS NULL) AS unpriced_count,
    sum(toUInt64(prompt_tokens)) AS prompt_token_count,
    sum(toUInt64(cached_tokens)) AS cached_token_count,
    sum(toUInt64(completion_tokens)) AS completion_token_count,
    sum(ifNull(cost_usd, toDecimal64(0, 12))) AS total_cost_usd
FROM inference_events
GROUP BY day, tenant, model, key_id, user;
