-- Replicas by how much slower they generate than the middle one of their model.
WITH mapFromArrays(groupArray(day), groupArray(ms_per_token)) AS by_day
SELECT model, replica_id, sum(answers) AS answers, any(replicas) AS replicas, any(own_ms) AS own_ms_per_token, any(middle_ms) AS usual_ms_per_token, own_ms_per_token / usual_ms_per_token AS times,
    arrayMap(d -> if(mapContains(by_day, toInt64(d)), by_day[toInt64(d)], NULL), range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM
(
    SELECT model, replica_id, day, answers, ms_per_token, own_ms, quantileExact(0.5)(own_ms) OVER (PARTITION BY model) AS middle_ms, uniqExact(replica_id) OVER (PARTITION BY model) AS replicas
    FROM
    (
        SELECT model, replica_id, day, answers, ms_per_token, quantileExact(0.5)(ms_per_token) OVER (PARTITION BY model, replica_id) AS own_ms
        FROM
        (
            SELECT model, assumeNotNull(replica_id) AS replica_id, dateDiff('day', {from:DateTime64(3, 'UTC')}, completed_at) AS day, count() AS answers, quantileDD(0.01, 0.5)(1000 / assumeNotNull(tokens_per_s)) AS ms_per_token
            FROM v_requests
            WHERE completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') AND tokens_per_s > 0 AND replica_id IS NOT NULL
            GROUP BY model, replica_id, day
            HAVING answers >= 10
        )
    )
)
GROUP BY model, replica_id
ORDER BY times DESC, model, replica_id
LIMIT {limit:UInt32}
