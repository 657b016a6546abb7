-- Tenants and models by the share of answers that were cut at max_tokens.
WITH sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, completed_at), toFloat64(has(finish_reasons, 'length')))) AS bad_by_day, sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, completed_at), toFloat64(1))) AS all_by_day
SELECT tenant, model, count() AS answered, countIf(has(finish_reasons, 'length')) AS truncated, truncated / answered AS truncated_share, medianExactIf(completion_tokens, has(finish_reasons, 'length')) AS cut_at_tokens, arrayMap(d -> if(all_by_day[toInt64(d)] >= 5, bad_by_day[toInt64(d)] / all_by_day[toInt64(d)], NULL), range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM v_requests
WHERE completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') AND outcome IN ('completed', 'cache_hit')
GROUP BY tenant, model
ORDER BY truncated DESC, tenant, model
LIMIT {limit:UInt32}
