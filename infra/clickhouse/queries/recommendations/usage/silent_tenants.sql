-- Tenants that asked nothing in the last three days of the span, though they did on most days before.
SELECT tenant, sumIf(requests, day >= toDate({to:DateTime64(3, 'UTC')} - INTERVAL 3 DAY)) AS recent, sum(requests) - recent AS before, uniqExactIf(day, requests > 0 AND day < toDate({to:DateTime64(3, 'UTC')} - INTERVAL 3 DAY)) AS active_days,
    dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')}) - 3 AS days_before, active_days / days_before AS active_share, max(day) AS last_day, toUInt64(recent = 0) AS silent
FROM v_usage_daily
WHERE day >= toDate({from:DateTime64(3, 'UTC')}) AND day < toDate({to:DateTime64(3, 'UTC')}) AND (tenant = {tenant:String} OR {tenant:String} = '')
GROUP BY tenant
ORDER BY recent, before DESC, tenant
LIMIT {limit:UInt32}
