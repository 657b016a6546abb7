-- How well each model did in the hour before, 0 to 100, against its own week before (docs/concepts/analytics/kpi.md).
SELECT
    model,
    if(requests >= 20, round((0.3 * ifNull(latency_part, 0) + 0.3 * errors_part + 0.2 * ifNull(satisfaction_part, 0) + 0.1 * ifNull(security_part, 0)
        + 0.1 * ifNull(cost_part, 0)) / (0.3 * (latency_part IS NOT NULL) + 0.3 + 0.2 * (satisfaction_part IS NOT NULL) + 0.1 * (security_part IS NOT NULL)
        + 0.1 * (cost_part IS NOT NULL)), 1), NULL) AS score,
    latency_part, errors_part, satisfaction_part, security_part, cost_part,
    requests, error_rate, latency_p95_ms, usual_latency_p95_ms, usd_per_million_tokens, usual_usd_per_million_tokens, ratings, good, risky_share
FROM
(
    SELECT
        lately.model AS model, lately.requests AS requests, error_rate, lately.latency_p95_ms AS latency_p95_ms,
        if(latency_hours >= 12, usual_latency, NULL) AS usual_latency_p95_ms,
        if(priced > 0, lately.usd * 1000000 / lately.tokens, NULL) AS usd_per_million_tokens, if(cost_hours >= 12, usual_cost, NULL) AS usual_usd_per_million_tokens,
        ratings, good, if(inspected > 0, risky / inspected, NULL) AS risky_share,
        if(answered >= 20 AND latency_hours >= 12 AND usual_latency > 0, 100 * greatest(0, least(1, (3 - lately.latency_p95_ms / usual_latency) / 2)), NULL) AS latency_part,
        100 * greatest(0, 1 - error_rate / 0.2) AS errors_part,
        if(ratings > 0, 100 * (good + 7) / (ratings + 10), NULL) AS satisfaction_part,
        if(inspected > 0, 100 * greatest(0, 1 - risky / inspected / 0.2), NULL) AS security_part,
        if(priced > 0 AND cost_hours >= 12 AND usual_cost > 0, 100 * greatest(0, least(1, (3 - (lately.usd * 1000000 / lately.tokens) / usual_cost) / 2)), NULL) AS cost_part
    FROM
    (
        SELECT
            toString(model) AS model, count() AS requests, countIf(outcome IN ('completed', 'cache_hit')) AS answered, countIf(outcome IN ('failed', 'expired')) / requests AS error_rate,
            quantileDDIf(0.01, 0.95)(duration_ms, outcome IN ('completed', 'cache_hit')) AS latency_p95_ms, sumIf(toFloat64(ifNull(cost_usd, 0)), cost_usd > 0) AS usd,
            sumIf(total_tokens, cost_usd > 0) AS tokens, countIf(cost_usd > 0 AND total_tokens > 0) AS priced, countIf(risk_level IS NOT NULL) AS inspected,
            countIf(risk_level IN ('medium', 'high', 'critical')) AS risky
        FROM v_requests
        WHERE completed_at >= {to:DateTime64(3, 'UTC')} - INTERVAL 1 HOUR AND completed_at < {to:DateTime64(3, 'UTC')}
        GROUP BY model
        ORDER BY requests DESC, model
        LIMIT {limit:UInt32}
    ) AS lately
    LEFT JOIN
    (
        SELECT
            toString(model) AS model, countIf(answered_requests >= 20) AS latency_hours, quantileExactIf(0.5)(latency_p95_ms, answered_requests >= 20) AS usual_latency,
            countIf(usd_per_million_tokens > 0) AS cost_hours, quantileExactIf(0.5)(assumeNotNull(usd_per_million_tokens), usd_per_million_tokens > 0) AS usual_cost
        FROM v_model_hours
        WHERE hour >= {to:DateTime64(3, 'UTC')} - INTERVAL 169 HOUR AND hour < toStartOfHour({to:DateTime64(3, 'UTC')} - INTERVAL 1 HOUR)
        GROUP BY model
    ) AS before ON before.model = lately.model
    LEFT JOIN
    (
        SELECT rated_model AS model, count() AS ratings, countIf(newest_rating = 1) AS good
        FROM v_feedback
        WHERE rated_at >= {to:DateTime64(3, 'UTC')} - INTERVAL 24 HOUR AND rated_at < {to:DateTime64(3, 'UTC')}
        GROUP BY model
    ) AS rated ON rated.model = lately.model
)
ORDER BY score, model
