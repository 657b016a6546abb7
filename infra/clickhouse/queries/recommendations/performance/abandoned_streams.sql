-- Models by the share of streams that their clients left.
WITH sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, completed_at), toFloat64(outcome = 'cancelled'))) AS bad_by_day, sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, completed_at), toFloat64(1))) AS all_by_day
SELECT model, count() AS streams, countIf(outcome = 'cancelled') AS left, left / streams AS left_share, sumIf(completion_tokens, outcome = 'cancelled') AS tokens_generated, quantileDDIf(0.01, 0.5)(assumeNotNull(ttft_ms), outcome = 'cancelled' AND ttft_ms IS NOT NULL) AS left_ttft_p50_ms, arrayMap(d -> if(all_by_day[toInt64(d)] >= 5, bad_by_day[toInt64(d)] / all_by_day[toInt64(d)], NULL), range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM v_requests
WHERE completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') AND stream AND outcome != 'blocked'
GROUP BY model
ORDER BY left DESC, model
LIMIT {limit:UInt32}
