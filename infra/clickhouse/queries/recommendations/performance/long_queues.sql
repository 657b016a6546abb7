-- Models and lanes by the share of requests that waited more than a second for a place.
WITH sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, completed_at), toFloat64(queue_ms > 1000 OR outcome = 'expired'))) AS bad_by_day, sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, completed_at), toFloat64(1))) AS all_by_day
SELECT model, lane, count() AS requests, countIf(queue_ms > 1000 OR outcome = 'expired') AS waited, waited / requests AS waited_share, quantileDD(0.01, 0.95)(ifNull(queue_ms, duration_ms)) AS queue_p95_ms,
    max(toUInt64(peak)) AS replicas_seen, arrayMap(d -> if(all_by_day[toInt64(d)] >= 5, bad_by_day[toInt64(d)] / all_by_day[toInt64(d)], NULL), range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM
(
    SELECT model, lane, queue_ms, outcome, duration_ms, completed_at, uniqExact(replica_id) OVER (PARTITION BY model, toStartOfHour(completed_at)) AS peak
    FROM v_requests
    WHERE completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') AND (queue_ms IS NOT NULL OR outcome = 'expired')
)
GROUP BY model, lane
ORDER BY waited DESC, model, lane
LIMIT {limit:UInt32}
