-- Every figure of a span of time by model, tenant, user or for all (by): those with most requests, the others together.
SELECT
    requests.name AS name, names, requests, requests / seconds AS requests_per_s, answered, errors, errors / requests AS error_rate, errors_by_type,
    if(isNaN(latency[1]), NULL, latency[1]) AS latency_p50_ms, if(isNaN(latency[2]), NULL, latency[2]) AS latency_p95_ms, if(isNaN(latency[3]), NULL, latency[3]) AS latency_p99_ms,
    if(isNaN(ttft[1]), NULL, ttft[1]) AS ttft_p50_ms, if(isNaN(ttft[2]), NULL, ttft[2]) AS ttft_p95_ms, if(isNaN(ttft[3]), NULL, ttft[3]) AS ttft_p99_ms,
    if(isNaN(between[1]), NULL, between[1]) AS inter_token_p50_ms, if(isNaN(between[2]), NULL, between[2]) AS inter_token_p95_ms, if(isNaN(between[3]), NULL, between[3]) AS inter_token_p99_ms,
    if(isNaN(queue[1]), NULL, queue[1]) AS queue_p50_ms, if(isNaN(queue[2]), NULL, queue[2]) AS queue_p95_ms, if(isNaN(queue[3]), NULL, queue[3]) AS queue_p99_ms,
    completion_tokens / seconds AS tokens_per_s, usd, toFloat64(usd) * 3600 / seconds AS usd_per_hour, cache_hits / requests AS cache_hit_share, risk_levels,
    if(inspected > 0, risky / inspected, NULL) AS risky_share, ratings, if(ratings > 0, good / ratings, NULL) AS satisfaction
FROM
(
    SELECT
        if(multiIf({by:String} = 'model', toString(model), {by:String} = 'tenant', toString(tenant), {by:String} = 'user', concat(tenant, '/', ifNull(user, '')), '') IN (SELECT multiIf({by:String} = 'model', toString(model), {by:String} = 'tenant', toString(tenant), {by:String} = 'user', concat(tenant, '/', ifNull(user, '')), '') AS one FROM v_requests WHERE completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') GROUP BY one ORDER BY count() DESC, one LIMIT {limit:UInt32}), multiIf({by:String} = 'model', toString(model), {by:String} = 'tenant', toString(tenant), {by:String} = 'user', concat(tenant, '/', ifNull(user, '')), ''), '(other)') AS name,
        uniqExact(multiIf({by:String} = 'model', toString(model), {by:String} = 'tenant', toString(tenant), {by:String} = 'user', concat(tenant, '/', ifNull(user, '')), '')) AS names, count() AS requests, countIf(outcome IN ('completed', 'cache_hit')) AS answered, countIf(outcome IN ('failed', 'expired')) AS errors,
        dateDiff('millisecond', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')}) / 1000 AS seconds,
        sumMapIf(map(toString(ifNull(error_code, outcome)), toUInt64(1)), outcome IN ('failed', 'expired', 'blocked')) AS errors_by_type,
        quantilesDDIf(0.01, 0.5, 0.95, 0.99)(duration_ms, outcome IN ('completed', 'cache_hit')) AS latency,
        quantilesDDIf(0.01, 0.5, 0.95, 0.99)(assumeNotNull(ttft_ms), ttft_ms IS NOT NULL) AS ttft,
        quantilesDDIf(0.01, 0.5, 0.95, 0.99)(1000 / assumeNotNull(tokens_per_s), tokens_per_s > 0) AS between,
        quantilesDDIf(0.01, 0.5, 0.95, 0.99)(assumeNotNull(queue_ms), queue_ms IS NOT NULL) AS queue,
        sum(toUInt64(completion_tokens)) AS completion_tokens, sum(ifNull(cost_usd, toDecimal64(0, 12))) AS usd, countIf(outcome = 'cache_hit') AS cache_hits,
        sumMapIf(map(toString(assumeNotNull(risk_level)), toUInt64(1)), risk_level IS NOT NULL) AS risk_levels, countIf(risk_level IS NOT NULL) AS inspected,
        countIf(risk_level IN ('medium', 'high', 'critical')) AS risky
    FROM v_requests
    WHERE completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '')
    GROUP BY name
) AS requests
LEFT JOIN
(
    SELECT
        if(multiIf({by:String} = 'model', rated_model, {by:String} = 'tenant', toString(tenant), {by:String} = 'user', concat(tenant, '/', ifNull(user, '')), '') IN (SELECT multiIf({by:String} = 'model', toString(model), {by:String} = 'tenant', toString(tenant), {by:String} = 'user', concat(tenant, '/', ifNull(user, '')), '') AS one FROM v_requests WHERE completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') GROUP BY one ORDER BY count() DESC, one LIMIT {limit:UInt32}), multiIf({by:String} = 'model', rated_model, {by:String} = 'tenant', toString(tenant), {by:String} = 'user', concat(tenant, '/', ifNull(user, '')), ''), '(other)') AS name, count() AS ratings, countIf(newest_rating = 1) AS good
    FROM v_feedback
    WHERE rated_at >= {from:DateTime64(3, 'UTC')} AND rated_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '')
    GROUP BY name
) AS ratings ON requests.name = ratings.name
ORDER BY requests DESC, name
