-- Models by how many replicas answered in each hour, and how many their work would have kept busy to seven tenths.
WITH sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, hour), toFloat64(replicas - needed))) AS by_day
SELECT model, count() AS hours, sum(requests_of_hour) AS requests, max(replicas) AS replicas_most, max(needed) AS needed_most, round(max(busy), 3) AS busy_most, sum(replicas - needed) AS spare_hours, sum(replicas) AS replica_hours, quantileExact(0.1)(replicas - needed) AS spare, arrayMap(d -> by_day[toInt64(d)], range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM
(
    SELECT model, toStartOfHour(completed_at) AS hour, count() AS requests_of_hour, sum(duration_ms - ifNull(queue_ms, 0)) / 3600000 AS busy, toInt64(uniqExact(replica_id)) AS replicas, toInt64(greatest(1, ceil(busy / 0.7))) AS needed
    FROM v_requests
    WHERE completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') AND replica_id IS NOT NULL
    GROUP BY model, hour
    HAVING replicas > 0
)
GROUP BY model
ORDER BY spare_hours DESC, model
LIMIT {limit:UInt32}
