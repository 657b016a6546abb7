-- Models by the share of requests that took more than one replica.
WITH sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, completed_at), toFloat64(attempts > 1))) AS bad_by_day, sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, completed_at), toFloat64(1))) AS all_by_day
SELECT model, count() AS requests, countIf(attempts > 1) AS retried, retried / requests AS retried_share, countIf(attempts > 1 AND outcome IN ('failed', 'expired')) AS failed_after_all, arrayMap(d -> if(all_by_day[toInt64(d)] >= 5, bad_by_day[toInt64(d)] / all_by_day[toInt64(d)], NULL), range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM v_requests
WHERE completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') AND outcome NOT IN ('blocked', 'cache_hit')
GROUP BY model
ORDER BY retried DESC, model
LIMIT {limit:UInt32}
