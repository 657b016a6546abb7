-- The time to the first token by model (median of the days' 95th percentiles), the last seven days against those before.
WITH mapFromArrays(groupArray(day), groupArray(p95)) AS by_day
SELECT model, toUInt32(sumIf(answers, day >= last_day)) AS answers_lately, toUInt32(sumIf(answers, day < last_day)) AS answers_before, countIf(day < last_day) AS days_before,
    quantileExactIf(0.5)(p95, day >= last_day) AS lately_ms, quantileExactIf(0.5)(p95, day < last_day) AS usual_ms, quantileExactIf(0.5)(queue_p95, day >= last_day) AS queue_ms,
    lately_ms / usual_ms AS times, 1 - queue_ms / lately_ms AS not_queue_share, arrayMap(d -> if(mapContains(by_day, toInt64(d)), by_day[toInt64(d)], NULL), range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM
(
    SELECT model, dateDiff('day', {from:DateTime64(3, 'UTC')}, completed_at) AS day, dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')}) - 7 AS last_day, count() AS answers, quantileDD(0.01, 0.95)(assumeNotNull(ttft_ms)) AS p95, quantileDD(0.01, 0.95)(ifNull(queue_ms, 0)) AS queue_p95
    FROM v_requests
    WHERE completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') AND ttft_ms IS NOT NULL
    GROUP BY model, day
    HAVING answers >= 20
)
GROUP BY model
HAVING answers_lately > 0 AND answers_before > 0
ORDER BY times DESC, model
LIMIT {limit:UInt32}
