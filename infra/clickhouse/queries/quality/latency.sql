-- Percentiles of the time that requests took, by day and model.
SELECT day, model, round(duration_p50_ms) AS p50_ms, round(duration_p95_ms) AS p95_ms FROM v_usage_daily
WHERE day >= toDate({from:DateTime64(3, 'UTC')}, 'UTC') AND day < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') ORDER BY day, tenant, model
