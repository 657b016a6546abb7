-- All requests of a time in figures: how many, how long, how many failed, what they cost.
SELECT sum(requests) AS request_count, sum(failed_requests) / request_count AS error_rate, sum(duration_mean_ms * requests) / request_count AS mean_ms,
    sum(prompt_tokens) + sum(completion_tokens) AS tokens, sum(cost_usd) AS usd
FROM v_usage_hourly WHERE hour >= {from:DateTime64(3, 'UTC')} AND hour < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '')
