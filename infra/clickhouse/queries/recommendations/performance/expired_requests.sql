-- Models and lanes by the share of requests whose deadline passed in the queue.
WITH sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, completed_at), toFloat64(outcome = 'expired'))) AS bad_by_day, sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, completed_at), toFloat64(1))) AS all_by_day
SELECT model, lane, count() AS requests, countIf(outcome = 'expired') AS expired, expired / requests AS expired_share, uniqExact(toStartOfHour(completed_at)) AS hours, arrayMap(d -> if(all_by_day[toInt64(d)] >= 5, bad_by_day[toInt64(d)] / all_by_day[toInt64(d)], NULL), range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM v_requests
WHERE completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') AND outcome != 'blocked'
GROUP BY model, lane
ORDER BY expired DESC, model, lane
LIMIT {limit:UInt32}
