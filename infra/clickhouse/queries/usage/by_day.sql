-- Requests, errors and tokens of each day (UTC).
SELECT day, sum(requests) AS request_count, sum(failed_requests) AS failed, sum(prompt_tokens) + sum(completion_tokens) AS tokens
FROM v_usage_daily WHERE day >= toDate({from:DateTime64(3, 'UTC')}, 'UTC') AND day < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') GROUP BY day ORDER BY day
