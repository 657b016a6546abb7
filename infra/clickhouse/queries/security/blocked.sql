-- Requests that a policy refused, by tenant and hour.
SELECT hour, tenant, sum(blocked_requests) AS blocked FROM v_usage_hourly WHERE hour >= {from:DateTime64(3, 'UTC')} AND hour < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '')
GROUP BY hour, tenant HAVING blocked > 0 ORDER BY hour, tenant
