-- What a model's hours usually are: the baseline of its score (queries/quality/model_scores.sql). Of all tenants, so not one of the views of a tenant's analysts.
CREATE OR REPLACE VIEW v_model_hours
(
    hour DateTime('UTC') COMMENT 'Start of the hour in which the requests ended, UTC.',
    model LowCardinality(String) COMMENT 'The model that answered.',
    requests UInt64 COMMENT 'How many requests ended. Exact.',
    answered_requests UInt64 COMMENT 'Those that were answered, from a model or a cache. Exact.',
    error_rate Float64 COMMENT 'Share of failed and expired requests, 0 to 1. Exact.',
    latency_p95_ms Float32 COMMENT '95th percentile of the answered ones'' time from the gateway taking them to their end; from digests, within half a percentile rank. NaN where none was answered.',
    usd_per_million_tokens Nullable(Float64) COMMENT 'Price of a million tokens of prompts and answers; NULL where nothing is priced.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    hour, model, requests, answered_requests, error_rate, latency_p95_ms, usd_per_million_tokens
FROM
(
    SELECT
        hour AS hour,
        model,
        sum(inference_per_hour.requests) AS requests,
        sumIf(inference_per_hour.requests, outcome IN ('completed', 'cache_hit')) AS answered_requests,
        sumIf(inference_per_hour.requests, outcome IN ('failed', 'expired')) / requests AS error_rate,
        quantilesTDigestMergeIf(0.5, 0.95, 0.99)(inference_per_hour.duration_ms, outcome IN ('completed', 'cache_hit'))[2] AS latency_p95_ms,
        sum(inference_per_hour.cost_usd) AS usd,
        if(usd > 0, toFloat64(usd) * 1000000 / sum(inference_per_hour.prompt_tokens + inference_per_hour.completion_tokens), NULL) AS usd_per_million_tokens
    FROM inference_per_hour
    GROUP BY hour, model
)
COMMENT 'Each hour of each model over all tenants, from the rollup.';
