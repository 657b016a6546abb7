-- Models that nobody asked for in the last fourteen days of the span, though they were before.
SELECT model, sumIf(requests, day >= toDate({to:DateTime64(3, 'UTC')} - INTERVAL 14 DAY)) AS recent, sum(requests) - recent AS before, maxIf(day, requests > 0) AS last_day, sum(recent) OVER () AS all_recent, toUInt64(recent = 0) AS unused
FROM v_usage_daily
WHERE day >= toDate({from:DateTime64(3, 'UTC')}) AND day < toDate({to:DateTime64(3, 'UTC')}) AND (tenant = {tenant:String} OR {tenant:String} = '')
GROUP BY model
ORDER BY recent, before DESC, model
LIMIT {limit:UInt32}
