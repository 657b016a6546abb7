-- Which models are used, and how often they fail.
SELECT model, sum(requests) AS request_count, sum(failed_requests) / request_count AS error_rate
FROM v_usage_hourly WHERE hour >= {from:DateTime64(3, 'UTC')} AND hour < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') GROUP BY model ORDER BY request_count DESC, model
